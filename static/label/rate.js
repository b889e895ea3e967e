// Rate: each response on each criterion, how it is drawn, and what keys and clicks do to it.
// The judgment in hand is { kind, ratings }: by criterion, the rating of each canonical position or null.
// The focus moves through the ratings response by response, in reading order.

import { hint, make } from "./dom.js";
import { responseBody, responses } from "./parts.js";

function empty(assignment) {
  const none = () => assignment.candidates.map(() => null);
  return { kind: "rate", ratings: Object.fromEntries(assignment.criteria.map((one) => [one.name, none()])) };
}

/** Keep a draft's ratings on the criteria that are still in use. */
function mend(assignment, state) {
  const fresh = empty(assignment).ratings;
  const isRating = (value) => value === null || (value >= 1 && value <= assignment.rating_max);
  for (const name of Object.keys(fresh)) {
    const kept = state.ratings?.[name];
    if (kept?.length === fresh[name].length && kept.every(isRating)) fresh[name] = kept;
  }
  return { kind: "rate", ratings: fresh };
}

function missing(state) {
  const left = Object.values(state.ratings).flat().filter((value) => value === null).length;
  if (left === 0) return null;
  return left === 1 ? "One rating is missing." : `${left} ratings are missing.`;
}

/** Return every rating asked for, response by response in the order shown. */
export function cells(assignment) {
  return assignment.candidates.flatMap((candidate, place) =>
    assignment.criteria.map((criterion, row) => ({ criterion: criterion.name, row, position: candidate.position, place })),
  );
}

function withRating(state, criterion, position, value) {
  const values = state.ratings[criterion].map((old, at) => (at === position ? value : old));
  return { ...state, ratings: { ...state.ratings, [criterion]: values } };
}

function words(assignment, state) {
  return assignment.criteria
    .map(({ name }) => `${name} ${assignment.candidates.map((one) => state.ratings[name]?.[one.position] ?? "–").join(" · ")}`)
    .join("; ");
}

const actions = {
  digit(desk, { digit }) {
    const all = cells(desk.assignment);
    const at = Math.min(Math.max(desk.view.focus, 0), all.length - 1);
    const { criterion, position, place } = all[at];
    desk.view.focus = Math.min(at + 1, all.length - 1);
    desk.change(withRating(desk.answer, criterion, position, digit));
    desk.show();
    const next = all[at + 1];
    desk.say(`Response ${place + 1}, ${criterion}: ${digit}. ${next ? `Next: response ${next.place + 1}, ${next.criterion}.` : "That was the last one."}`);
  },
  rate(desk, { at, value }) {
    const { criterion, position } = cells(desk.assignment)[at];
    desk.view.focus = at;
    desk.change(withRating(desk.answer, criterion, position, value));
  },
  focus(desk, { at }) {
    // The press that brought the focus still goes on: nothing is drawn anew.
    desk.view.focus = at;
    for (const one of document.querySelectorAll("#work .rating")) one.classList.toggle("focus", one.dataset.place === String(at));
  },
};

// --- how it is drawn -----------------------------------------------------------------------------

function card({ candidate, place, context }) {
  const all = cells(context.assignment);
  const rows = context.assignment.criteria.map((criterion, row) => {
    const at = all.findIndex((cell) => cell.place === place && cell.row === row);
    return rating({ criterion, place, at, position: candidate.position, context });
  });
  return make(
    "article",
    { className: "cand rated", "data-answer": String(place), "aria-label": `Response ${place + 1}` },
    make("div", { className: "inner" }, make("header", { className: "number" }, `Response ${place + 1}`), responseBody(candidate, context)),
    make("div", { className: "ratings" }, ...rows),
  );
}

function rating({ criterion, place, at, position, context }) {
  const { assignment, state, view, act } = context;
  const given = state.ratings[criterion.name][position];
  const points = Array.from({ length: assignment.rating_max }, (_, one) => {
    const value = one + 1;
    const id = `rating-${at}-${value}`;
    // A click on the label rates without taking the focus, so that Enter goes on meaning submit.
    const clicked = (event) => {
      if (event.target.matches("input")) return;
      event.preventDefault();
      act("rate", { at, value });
    };
    return make(
      "label",
      { className: `point${given === value ? " on" : ""}`, on: { click: clicked } },
      make("input", { type: "radio", id, name: `rating-${at}`, value: String(value), checked: given === value, on: { change: () => act("rate", { at, value }), focus: () => act("focus", { at }) } }),
      String(value),
    );
  });
  const name = make("span", { id: `criterion-${at}`, className: "criterion" }, criterion.name);
  const help = criterion.help ? make("small", { id: `help-${at}`, dir: "auto" }, criterion.help) : null;
  return make(
    "div",
    {
      className: `rating${view.focus === at ? " focus" : ""}${given === null ? "" : " given"}`,
      role: "radiogroup",
      "aria-label": `${criterion.name}, response ${place + 1}`,
      ...(help && { "aria-describedby": `help-${at}` }),
      "data-place": String(at),
    },
    name,
    make("div", { className: "points" }, ...points),
    help,
  );
}

function help({ assignment }) {
  return make(
    "p",
    { className: "quiet" },
    `1 is worst, ${assignment.rating_max} is best.`,
    make("span", { className: "hide-touch single-help" }, " ", hint("1"), "–", hint(String(assignment.rating_max)), " rate and continue, ", hint("j"), " ", hint("k"), " move"),
  );
}

export const rate = {
  question: "How good is each response?",
  empty,
  mend,
  restore: (assignment, answer) => mend(assignment, { ratings: answer.ratings }),
  toAnswer: (state) => ({ kind: "rate", ratings: state.ratings }),
  isEmpty: (state) => Object.values(state.ratings).flat().every((value) => value === null),
  missing,
  words,
  actions,
  firstFocus: 0,
  places: (assignment) => cells(assignment).length,
  draw: (context) => [help(context), responses(context, card)],
};
