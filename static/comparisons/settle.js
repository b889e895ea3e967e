// Settling a comparison: a ranking is put in order as on the labeling page, and Ctrl+Enter settles it and opens the next.
// Without this module, each response has a list of ranks, and the buttons do the same.

import { hint, keepingFocus, make } from "../label/dom.js";
import { meaning } from "../label/keys.js";
import { moveTo, rankNext, rankOf, setRank, tie } from "../label/rank.js";

const form = document.getElementById("settle");
const lists = [...form.querySelectorAll("select[name=ranks]")];
const responses = lists.map((list, position) => ({ position, letter: list.dataset.letter, excerpt: list.dataset.excerpt }));
const assignment = { kind: lists.length ? "rank" : "pick", candidates: responses, allow_tie: true, is_practice: true };
const singleKeys = form.dataset.singleKeys === "true";
const said = document.getElementById("settle-said");
let state = started();
let focus = 0;

/** Return the order to begin with: none, or that of a form that came back. */
function started() {
  const order = responses.map((one) => one.position);
  const ranks = lists.map((list) => Number(list.value));
  const empty = { kind: "rank", order, ties: [], ranked: 0, cannot: false, touched: false };
  if (!ranks.length || ranks.some((rank) => !rank)) return empty;
  order.sort((a, b) => ranks[a] - ranks[b]);
  const ties = order.filter((position, at) => at > 0 && ranks[order[at - 1]] === ranks[position]);
  return { ...empty, order, ties, ranked: order.length, touched: true };
}

function change(next, position) {
  state = next;
  focus = next.order.indexOf(position);
  draw();
  const rank = focus < state.ranked ? `rank ${rankOf(state)[position]}` : "no rank";
  said.textContent = `Response ${responses[position].letter}: ${rank}${state.ties.includes(position) ? ", tied with the one above" : ""}.`;
}

const acts = {
  digit: ({ digit, position = digit - 1 }) => change(rankNext(state, position), position),
  tie: ({ position = state.order[focus] }) => change(tie(state, position), position),
  up: ({ position = state.order[focus] }) => change(moveTo(state, position, state.order.indexOf(position) - 1), position),
  down: ({ position = state.order[focus] }) => change(moveTo(state, position, state.order.indexOf(position) + 1), position),
};

function row(position, at) {
  const { letter, excerpt } = responses[position];
  const rank = at < state.ranked ? rankOf(state)[position] : "";
  const options = responses.map((_, one) => make("option", { value: String(one + 1), selected: rank === one + 1 }, String(one + 1)));
  const choice = make(
    "select",
    { id: `place-${position}`, ariaLabel: `Rank of ${letter}`, on: { change: (event) => change(setRank(state, position, Number(event.target.value)), position) } },
    make("option", { value: "", disabled: true, selected: rank === "" }, "–"),
    ...options,
  );
  const button = (does, label, sign, disabled, pressed) =>
    make("button", { type: "button", id: `${does}-${position}`, className: "btn", ariaLabel: `${label}: ${letter}`, disabled, on: { click: () => acts[does]({ position }) }, ...(pressed === undefined ? {} : { ariaPressed: String(pressed) }) }, sign);
  return make(
    "li",
    { className: at === focus ? "settle-at" : "" },
    choice,
    make("p", { dir: "auto" }, make("b", {}, letter), " ", singleKeys && hint(String(position + 1)), ` ${excerpt}`),
    make("span", { className: "row" }, button("up", "Move up", "▲", at === 0), button("down", "Move down", "▼", at === responses.length - 1), button("tie", "Tie with the one above", "=", at === 0, state.ties.includes(position))),
  );
}

function draw() {
  const place = document.getElementById("settle-order");
  keepingFocus(place, () => place.replaceChildren(...state.order.map(row)));
  const ranks = rankOf(state);
  lists.forEach((list, position) => {
    list.value = state.order.indexOf(position) < state.ranked ? String(ranks[position]) : "";
  });
}

/** Say what has no rank yet, as the browser cannot point at a list that is hidden. */
function check(event) {
  const left = state.order.length - state.ranked;
  if (!lists.length || !left || event.submitter?.value === "bad") return;
  event.preventDefault();
  event.stopImmediatePropagation();
  said.textContent = left === 1 ? "One response has no rank yet." : `${left} responses have no rank yet.`;
}

if (lists.length) {
  document.getElementById("settle-lists").hidden = true;
  document.getElementById("settle-ranking").hidden = false;
  for (const list of lists) list.required = false;
  draw();
  form.addEventListener("submit", check);
}

document.addEventListener("keydown", (event) => {
  if (form.closest("details:not([open])")) return;
  const meant = meaning(event, assignment, { singleKeys });
  if (!meant || (event.key === "Enter" && !(event.ctrlKey || event.metaKey))) return;
  if (meant.does === "submit") form.requestSubmit(form.querySelector("button[name=next]"));
  else if (assignment.kind === "rank" && acts[meant.does]) acts[meant.does](meant);
  else return;
  event.preventDefault();
});
