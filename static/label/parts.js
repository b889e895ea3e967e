// What the kinds of judgment share: a response's text, responses side by side or stacked, a word count.

import { difference, isByLine } from "./difference.js";
import { make } from "./dom.js";

const LEAST_SHARED = 0.25; // of the longer text's characters: below it, nearly every word would be marked

const helpful = new WeakMap(); // by assignment: { runs, says }

/** Return the words of two responses, split into shared and own ones, or null; and what to say instead of marks. */
export function differenceOf(assignment) {
  if (!helpful.has(assignment)) helpful.set(assignment, compared(assignment.candidates.map((one) => one.text)));
  return helpful.get(assignment);
}

function compared([first, second]) {
  if (first === second) return { runs: null, says: "The two responses are identical." };
  const runs = difference(first, second);
  const length = (of) => of.reduce((sum, run) => sum + (run.own ? 0 : run.text.trim().length), 0);
  const longest = Math.max(first.length, second.length);
  const shared = Math.min(length(runs[0]), length(runs[1])) / longest;
  if (shared >= LEAST_SHARED) return { runs, says: "" };
  if (isByLine(first, second)) return { runs: null, says: "No differences are marked: the responses are too long to be compared word by word, and have few lines in common." };
  return { runs: null, says: `No differences are marked: the responses share ${shared < 0.01 ? "almost nothing" : `only ${Math.round(100 * shared)} % of their text`}, so nearly everything would be.` };
}

/** Return the runs to show; null unless they are to be shown and help. */
export function runsOf({ assignment, view }) {
  return view.difference && assignment.candidates.length === 2 ? differenceOf(assignment).runs : null;
}

/** Return a sentence in place of marks that would not help. */
export function differenceNote({ assignment, view }) {
  const says = view.difference && assignment.kind !== "edit" && assignment.candidates.length === 2 && differenceOf(assignment).says;
  return says ? make("p", { className: "quiet", id: "no-difference", role: "status" }, says) : null;
}

/** Return a response's text; that of a follow-up with the turns that lead up to it. */
export function responseBody(candidate, context, runs = null) {
  const text = bodyOf(candidate, context, runs);
  if (!candidate.earlier?.length) return text;
  const turns = candidate.earlier.map((turn) =>
    make("div", { className: `turn ${turn.role}` }, who(turn.role === "user" ? "Follow-up" : "Response"), bodyOf({ ...turn, text: turn.content }, context)),
  );
  return make("div", { className: "turns" }, ...turns, make("div", { className: "turn" }, who("Response to the follow-up"), text));
}

const who = (name) => make("div", { className: "who" }, name);

/** Return a text: rendered, raw, or with the words marked that only it has. */
function bodyOf(candidate, { view, setHtml }, runs = null) {
  if (view.raw) return make("pre", { className: "raw", dir: "auto" }, candidate.raw || "(empty response)");
  const text = make("div", { className: "text", dir: "auto" });
  if (runs) {
    text.classList.add("different");
    text.append(...runs.map((run) => (run.own ? make("mark", {}, run.text) : run.text)));
  } else {
    setHtml(text, candidate.html);
    if (!candidate.text.trim()) text.append(make("p", { className: "quiet" }, "(empty response)"));
  }
  return text;
}

/** Return all responses, each drawn by `card`, in columns or stacked. */
export function responses(context, card) {
  const { assignment, view } = context;
  const runs = runsOf(context);
  const cards = assignment.candidates.map((candidate, place) => card({ candidate, place, runs: runs?.[place], context }));
  return make("section", { className: view.columns ? `pair of-${cards.length}` : "pile", "aria-label": "Responses" }, ...cards);
}

/** Return a count in words; a project's instruction often names a limit. */
export function counted(text) {
  const found = text.trim() ? text.trim().split(/\s+/u).length : 0;
  return found === 1 ? "1 word" : `${found.toLocaleString()} words`;
}
