// What the kinds of judgment share: a response's text, responses side by side or stacked, a word count.

import { difference } from "./difference.js";
import { make } from "./dom.js";

/** Return the words of two responses, split into shared and own ones; null unless they are to be shown. */
export function runsOf({ assignment, view }) {
  return view.difference && assignment.candidates.length === 2 ? difference(...assignment.candidates.map((one) => one.text)) : null;
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
