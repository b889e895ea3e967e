// Write and edit: a text by the labeler, from scratch or as a better version of a response; how it is drawn, and what
// keys and clicks do to it. The judgment in hand is { kind, text, aside }: `aside` is the text that the original has
// replaced, so that restoring destroys nothing.

import { merged } from "./difference.js";
import { hint, make } from "./dom.js";
import { responseBody, counted } from "./parts.js";

const MOST_BYTES = 65_536;
const original = (assignment) => assignment.candidates[0]?.text ?? "";

function missing(state, assignment) {
  if (!state.text.trim()) return "Write a response first.";
  const bytes = new TextEncoder().encode(state.text).length;
  if (bytes > MOST_BYTES) return `The text is too long by ${(bytes - MOST_BYTES).toLocaleString()} bytes.`;
  if (state.kind === "edit" && state.text === original(assignment)) return "Change the text first, or skip.";
  return null;
}

const actions = {
  text: () => document.getElementById("answer-text").focus(),
  typed(desk, { text }) {
    desk.answer = { ...desk.answer, text };
    desk.kept();
    updated(desk);
  },
  original(desk) {
    const { text, aside } = desk.answer;
    const first = original(desk.assignment);
    if (text !== first) {
      desk.change({ ...desk.answer, text: first, aside: text });
      desk.say("The original is back; your version is kept.");
    } else if (aside !== null) {
      desk.change({ ...desk.answer, text: aside, aside: null });
      desk.say("Your version is back.");
    } else desk.flash("It is the original.");
  },
};

// --- how it is drawn -----------------------------------------------------------------------------

/** Show what follows from the text without making its field anew: it keeps its caret and its own undo. */
function updated(desk) {
  document.getElementById("count").textContent = counted(desk.answer.text);
  const button = document.getElementById("restore");
  if (button) Object.assign(button, restoring(desk.assignment, desk.answer));
  const pane = document.getElementById("changes");
  if (pane) pane.replaceChildren(...changes(desk.assignment, desk.answer));
}

function field({ assignment, state, act }, label) {
  const old = document.getElementById("answer-text");
  const isSame = old && old.dataset.assignment === String(assignment.id);
  const area = isSame
    ? old
    : make("textarea", { id: "answer-text", rows: 12, dir: "auto", spellcheck: true, "data-assignment": String(assignment.id), on: { input: (event) => act("typed", { text: event.target.value }) } });
  if (area.value !== state.text) area.value = state.text;
  area.setAttribute("aria-label", label);
  return area;
}

function footer({ state }, ...more) {
  return make(
    "footer",
    { className: "row" },
    make("small", { id: "count" }, counted(state.text)),
    ...more,
    make("small", { className: "hide-touch spread-end" }, make("kbd", { ariaHidden: "true" }, "Esc"), " leaves the text, ", make("kbd", { ariaHidden: "true" }, "Ctrl+Enter"), " submits"),
  );
}

function restoring(assignment, state) {
  const isOriginal = state.text === original(assignment);
  return { disabled: isOriginal && state.aside === null, textContent: isOriginal && state.aside !== null ? "Back to your version" : "Restore the original" };
}

function changes(assignment, state) {
  const tags = { same: null, gone: "del", fresh: "ins" };
  return merged(original(assignment), state.text).map((run) => (tags[run.is] ? make(tags[run.is], {}, run.text) : run.text));
}

function originalPane(context) {
  const { assignment, state, view } = context;
  const [candidate] = assignment.candidates;
  const body = view.difference
    ? make("div", { id: "changes", className: "text different", dir: "auto" }, ...changes(assignment, state))
    : responseBody(candidate, context);
  return make(
    "article",
    { className: "cand", "data-place": "0", "aria-label": "The original" },
    make("div", { className: "inner" }, make("header", { className: "number" }, view.difference ? "What you changed" : "The original"), body),
  );
}

function drawWrite(context) {
  return [make("section", { className: "cand writing", "aria-label": "Your response" }, field(context, "Your response"), footer(context))];
}

function drawEdit(context) {
  const { assignment, state, act } = context;
  const restore = make("button", { type: "button", id: "restore", className: "btn", "data-do": "original", on: { click: () => act("original") }, ...restoring(assignment, state) });
  const editing = make(
    "section",
    { className: "cand writing", "aria-label": "Your version" },
    make("header", { className: "number" }, "Your version"),
    field(context, "Your version"),
    footer(context, make("span", { className: "row tight" }, restore, hint("o"))),
  );
  return [make("div", { className: "pair of-2" }, originalPane(context), editing)];
}

const shared = {
  isEmpty: (state) => !state.text.trim(),
  missing,
  toAnswer: (state) => ({ kind: state.kind, text: state.text }),
  restore: (assignment, answer) => ({ kind: answer.kind, text: answer.text, aside: null }),
  words: (assignment, state) => state.text,
  actions,
  firstFocus: -1,
  places: () => 1,
  submitKey: "Ctrl+Enter",
  begin: () => matchMedia("(pointer: fine)").matches && document.getElementById("answer-text")?.focus({ preventScroll: true }),
};

export const write = { ...shared, question: "Write the best response you can", empty: () => ({ kind: "write", text: "", aside: null }), draw: drawWrite };

export const edit = {
  ...shared,
  question: "Make this response better",
  empty: (assignment) => ({ kind: "edit", text: original(assignment), aside: null }),
  draw: drawEdit,
};
