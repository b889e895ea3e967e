// Rank: an order with ties, how it is drawn, and what keys and clicks do to it.
// The judgment in hand is { kind, order, ties, ranked, cannot, touched }: `order` holds canonical positions as they
// stand on screen, the first `ranked` of which have a rank, and `ties` those tied with the one above.

import { hint, make } from "./dom.js";
import { responseBody, runsOf } from "./parts.js";

function empty(assignment) {
  const order = assignment.candidates.map((one) => one.position);
  return { kind: "rank", order, ties: [], ranked: 0, cannot: false, touched: false };
}

function restore(assignment, answer) {
  const state = empty(assignment);
  if (!answer.ranking) return { ...state, cannot: answer.both_bad, touched: true };
  const order = [...state.order].sort((a, b) => answer.ranking[a] - answer.ranking[b]);
  const ties = order.filter((position, at) => at > 0 && answer.ranking[order[at - 1]] === answer.ranking[position]);
  return { ...state, order, ties, ranked: order.length, touched: true };
}

function missing(state) {
  const left = state.order.length - state.ranked;
  if (state.cannot || left === 0 || state.ranked === 0) return null;
  return left === 1 ? "One response has no rank yet." : `${left} responses have no rank yet.`;
}

/** Return the competition rank of each canonical position. */
export function rankOf(state) {
  const ranks = [];
  let rank = 1;
  state.order.forEach((position, at) => {
    if (!(at > 0 && state.ties.includes(position))) rank = at + 1;
    ranks[position] = rank;
  });
  return ranks;
}

/** Give a response the next rank, or take its rank away if it has one; the last one left ranks itself. */
export function rankNext(state, position) {
  const at = state.order.indexOf(position);
  const order = state.order.filter((one) => one !== position);
  const ties = state.ties.filter((one) => one !== position);
  const last = state.order.length - 1;
  if (at === last && at < state.ranked) return state; // it ranked itself; naming it says the same
  if (at < state.ranked) {
    const ranked = state.ranked - 1;
    order.push(position);
    return { ...state, order, ties: untieFirst(order, ties), ranked, cannot: false, touched: true };
  }
  order.splice(state.ranked, 0, position);
  let ranked = state.ranked + 1;
  if (ranked === last) ranked = order.length;
  return { ...state, order, ties: untieFirst(order, ties), ranked, cannot: false, touched: true };
}

/** Put a response at a place, counted from 0; this ranks all of them as they stand. */
export function moveTo(state, position, place) {
  const order = state.order.filter((one) => one !== position);
  const to = Math.min(Math.max(place, 0), order.length);
  const from = state.order.indexOf(position);
  let ties = state.ties.filter((one) => one !== position);
  const below = state.order[from + 1];
  if (state.ties.includes(below) && !state.ties.includes(position)) ties = ties.filter((one) => one !== below);
  if (ties.includes(order[to])) ties = [...ties, position]; // dropped into a tie, it joins it
  order.splice(to, 0, position);
  return { ...state, order, ties: untieFirst(order, ties), ranked: order.length, cannot: false, touched: true };
}

/** Tie a response with the one above, or untie them. */
export function tie(state, position) {
  const at = state.order.indexOf(position);
  if (at <= 0) return state;
  const ties = state.ties.includes(position) ? state.ties.filter((one) => one !== position) : [...state.ties, position];
  return { ...state, ties, ranked: Math.max(state.ranked, at + 1), cannot: false, touched: true };
}

/** Put a response at the rank chosen from its list, tied with nobody. */
export function setRank(state, position, rank) {
  const moved = moveTo(state, position, rank - 1);
  const below = moved.order[rank];
  return { ...moved, ties: moved.ties.filter((one) => one !== position && one !== below) };
}

function untieFirst(order, ties) {
  return ties.filter((position) => position !== order[0]);
}

function words(assignment, state) {
  if (state.cannot) return "cannot be ranked";
  const ranks = rankOf(state);
  const numbers = new Map(assignment.candidates.map((one, place) => [one.position, place + 1]));
  return state.order
    .map((position, at) => (at === 0 ? "" : ranks[position] === ranks[state.order[at - 1]] ? " = " : " > ") + numbers.get(position))
    .join("");
}

// --- what can be done ----------------------------------------------------------------------------

const focused = (desk) => desk.answer.order[desk.view.focus];
const numberOf = (desk, position) => desk.assignment.candidates.findIndex((one) => one.position === position) + 1;

function moveBy(desk, position, by) {
  const place = desk.answer.order.indexOf(position) + by;
  if (place >= 0 && place < desk.answer.order.length) actions.drop(desk, { position, place });
}

const actions = {
  digit(desk, { digit }) {
    const position = desk.assignment.candidates[digit - 1].position;
    const next = rankNext(desk.answer, position);
    desk.view.focus = next.order.indexOf(position);
    desk.change(next);
    desk.say(`Response ${digit}: ${desk.view.focus < next.ranked ? `rank ${rankOf(next)[position]}` : "no rank"}.`);
  },
  tie(desk, { position = focused(desk) }) {
    desk.change(tie(desk.answer, position));
    desk.say(desk.answer.ties.includes(position) ? "Tied with the one above." : "Not tied.");
  },
  bad(desk) {
    desk.change({ ...desk.answer, cannot: !desk.answer.cannot });
    desk.say(desk.answer.cannot ? "Cannot be ranked." : "Can be ranked.");
  },
  up: (desk, { position = focused(desk) }) => moveBy(desk, position, -1),
  down: (desk, { position = focused(desk) }) => moveBy(desk, position, 1),
  drop(desk, { position, place }) {
    desk.view.focus = place;
    desk.change(moveTo(desk.answer, position, place));
    desk.say(`Response ${numberOf(desk, position)}: rank ${rankOf(desk.answer)[position]}.`);
  },
  setRank(desk, { position, rank }) {
    const next = setRank(desk.answer, position, rank);
    desk.view.focus = next.order.indexOf(position);
    desk.change(next);
  },
};

// --- how it is drawn -----------------------------------------------------------------------------

function list(context) {
  const { assignment, state, view } = context;
  const ranks = rankOf(state);
  const runs = runsOf(context);
  const shown = new Map(assignment.candidates.map((candidate, place) => [candidate.position, { candidate, number: place + 1, runs: runs?.[place] }]));
  const rows = state.order.map((position, at) =>
    row({ ...shown.get(position), position, at, rank: at < state.ranked ? ranks[position] : null, tied: at > 0 && state.ties.includes(position), context }),
  );
  const look = `ranks${view.columns ? " columns" : ""}${state.cannot ? " off" : ""}`;
  return make("ol", { className: look, "aria-label": "Responses, best first" }, ...rows);
}

function row({ candidate, number, runs, position, at, rank, tied, context }) {
  const { assignment, view, act } = context;
  const many = assignment.candidates.length;
  const choice = make(
    "select",
    { id: `rank-${position}`, className: "rank-select", ariaLabel: `Rank of response ${number}`, on: { change: (event) => act("setRank", { position, rank: Number(event.target.value) }) } },
    make("option", { value: "", disabled: true, selected: rank === null }, "–"),
    ...Array.from({ length: many }, (_, one) => make("option", { value: String(one + 1), selected: rank === one + 1 }, String(one + 1))),
  );
  const grip = make("span", { className: "grip", title: "Drag to move", ariaHidden: "true", "data-grip": String(position) }, "⠿");
  const move = (does, label, sign, dead) =>
    make("button", { type: "button", id: `${does}-${position}`, className: "btn move", ariaLabel: `${label}: response ${number}`, disabled: dead, on: { click: () => act(does, { position }) } }, sign);
  const tying = () =>
    make("button", { type: "button", id: `tie-${position}`, className: `btn move${tied ? " on" : ""}`, ariaLabel: `Tie response ${number} with the one above`, ariaPressed: String(tied), disabled: at === 0, on: { click: () => act("tie", { position }) } }, "=");
  const standing = rank === null ? "no rank yet" : `rank ${rank}${tied ? ", tied with the one above" : ""}`;
  return make(
    "li",
    { className: `cand${tied ? " tied" : ""}${view.focus === at ? " focus" : ""}`, "data-position": String(position), "data-place": String(at), "aria-label": `Response ${number}, ${standing}` },
    make("div", { className: "place" }, choice, make("small", {}, hint(String(number)), tied ? " tie" : ""), grip),
    responseBody(candidate, context, runs),
    make("div", { className: "moves" }, move("up", "Move up", "▲", at === 0), move("down", "Move down", "▼", at === many - 1), assignment.allow_tie && tying()),
  );
}

function help({ assignment }) {
  return make(
    "p",
    { className: "quiet hide-touch single-help" },
    "Press ", hint("1"), "–", hint(String(assignment.candidates.length)), " in the order you prefer, or move with ", hint("Alt+↑"), " ", hint("Alt+↓"),
    ...(assignment.allow_tie ? ["; ", hint("="), " ties with the one above"] : []),
  );
}

export const rank = {
  question: "Best first",
  empty,
  restore,
  toAnswer: (state) => ({ kind: "rank", ranking: state.cannot ? null : rankOf(state), both_bad: state.cannot }),
  isEmpty: (state) => !state.touched && !state.cannot && state.ranked === 0,
  missing,
  isUntouched: (state) => !state.touched && !state.cannot,
  words,
  actions,
  firstFocus: 0,
  places: (assignment) => assignment.candidates.length,
  isBad: (state) => state.cannot,
  badLabel: "Cannot rank",
  draw: (context) => [help(context), list(context)],
};
