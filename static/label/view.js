// Draws the comparison in hand. Everything is drawn from the state; nothing here decides anything.

import { isEmpty, missing, rankOf, scale } from "./answers.js";
import { difference } from "./difference.js";
import { keysFor, isSingle } from "./keys.js";

const WHO = { assistant: "Assistant", system: "Instruction", user: "Prompt" };

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (key in element && key !== "role") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function hint(key) {
  return make("kbd", { className: isSingle(key) ? "single" : "", ariaHidden: "true" }, key);
}

/** Draw a whole comparison. `act(does, details)` is what every control calls. */
export function draw(root, { assignment, state, view, config, setHtml, act }) {
  const focus = rememberFocus(root);
  const isRank = assignment.kind === "rank";
  root.replaceChildren(
    prompt(assignment, setHtml),
    make("div", { className: "ask row" }, make("h1", { id: "question", tabIndex: -1 }, isRank ? "Best first" : "Which answer is better?"), ...tools(assignment, view, act)),
    isRank ? help(assignment) : "",
    isRank ? list(assignment, state, view, setHtml, act) : pair(assignment, state, view, setHtml, act),
    isRank ? "" : steps(assignment, state, config, act),
    remarks(view, config, act),
  );
  root.className = `${isRank ? "rank" : "pick"} ${view.full ? "full" : ""} ${state.cannot || state.bothBad ? "bad" : ""}`;
  restoreFocus(root, focus);
}

function prompt(assignment, setHtml) {
  const turns = assignment.messages.map((message) => {
    const text = make("div", { className: "text", dir: "auto" });
    setHtml(text, message.html);
    return make("div", { className: `turn ${message.role}` }, make("div", { className: "who" }, WHO[message.role] ?? message.role), text);
  });
  const instruction = assignment.instruction && make("p", { className: "instruction", dir: "auto" }, assignment.instruction);
  return make("section", { className: "prompt", "aria-label": "Prompt", role: "region" }, instruction || null, ...turns);
}

function tools(assignment, view, act) {
  const tool = (does, label, key, on) =>
    make("button", { type: "button", className: "btn plain tool", "data-do": does, ariaPressed: String(on), on: { click: () => act(does) } }, label, " ", hint(key));
  const isPair = assignment.candidates.length === 2;
  return [
    make(
      "div",
      { className: "spread tools", role: "group", "aria-label": "View" },
      isPair && tool("difference", "Difference", "d", view.difference),
      !isPair && make("button", { type: "button", className: "btn plain tool", ariaPressed: String(view.columns), on: { click: () => act("columns") } }, "Side by side"),
      tool("raw", "Raw", "r", view.raw),
      tool("full", "Full screen", "z", view.full),
    ),
  ];
}

function help(assignment) {
  const many = assignment.candidates.length;
  return make(
    "p",
    { className: "quiet hide-touch single-help" },
    "Press ", hint("1"), "–", hint(String(many)), " in the order you prefer, or move with ", hint("Alt+↑"), " ", hint("Alt+↓"),
    ...(assignment.allow_tie ? ["; ", hint("="), " ties with the one above"] : []),
  );
}

function pair(assignment, state, view, setHtml, act) {
  const runs = view.difference ? difference(...assignment.candidates.map((one) => one.text)) : null;
  const cards = assignment.candidates.map((candidate, place) => {
    const letter = "ab"[candidate.position];
    const on = state.preferred === letter;
    const choose = make(
      "button",
      { type: "button", className: "choose", id: `choose-${place + 1}`, ariaPressed: String(on), on: { click: () => act("choose", { digit: place + 1 }) } },
      hint(String(place + 1)),
      make("span", {}, make("span", { className: "visually-hidden" }, `Answer ${place + 1}: `), on ? "Better" : "This one is better"),
    );
    const card = make("article", { className: `cand${on ? " on" : ""}${view.focus === place ? " focus" : ""}`, "data-place": String(place), "aria-label": `Answer ${place + 1}` }, make("header", {}, choose), body(candidate, view, runs?.[place], setHtml));
    card.addEventListener("click", (event) => {
      if (!event.target.closest("button, a") && !String(window.getSelection())) act("choose", { digit: place + 1 });
    });
    return card;
  });
  return make("section", { className: "pair", "aria-label": "Answers" }, ...cards);
}

function body(candidate, view, runs, setHtml) {
  if (view.raw) return make("pre", { className: "raw", dir: "auto", tabIndex: 0 }, candidate.raw);
  const text = make("div", { className: "text", dir: "auto" });
  if (runs) {
    text.classList.add("different");
    text.append(...runs.map((run) => (run.own ? make("mark", {}, run.text) : run.text)));
  } else {
    setHtml(text, candidate.html);
    if (!candidate.text.trim()) text.append(make("p", { className: "quiet" }, "(empty answer)"));
  }
  return text;
}

function steps(assignment, state, config, act) {
  const [left] = assignment.candidates.map((one) => "ab"[one.position]);
  const options = scale(assignment);
  const all = options.filter((step) => step.preferred === "tie" || assignment.strengths.length);
  if (!all.length) return "";
  const buttons = all.map((step) => {
    const isTie = step.preferred === "tie";
    const place = step.preferred === left ? 1 : 2;
    const on = state.preferred === step.preferred && state.strength === step.strength;
    const label = isTie ? "About the same" : `${config.strengths[step.strength]} ${place}`;
    return make(
      "button",
      { type: "button", id: `step-${step.preferred}-${step.strength ?? 0}`, className: `step side-${isTie ? 0 : place}${on ? " on" : ""}`, ariaPressed: String(on), on: { click: () => act("step", step) } },
      label,
      isTie ? " " : "",
      isTie ? hint("0") : "",
    );
  });
  return make(
    "section",
    { className: `scale of-${assignment.strengths.length}`, role: "group", "aria-label": "How much better?" },
    make("div", { className: "steps" }, ...buttons),
    assignment.strengths.length > 0 && make("small", { className: "hide-touch" }, "Fine-tune with ", hint("←"), " ", hint("→")),
  );
}

function list(assignment, state, view, setHtml, act) {
  const ranks = rankOf(state);
  const shown = new Map(assignment.candidates.map((candidate, place) => [candidate.position, { candidate, number: place + 1 }]));
  const rows = state.order.map((position, at) => {
    const { candidate, number } = shown.get(position);
    return row({ candidate, number, position, at, rank: at < state.ranked ? ranks[position] : null, tied: at > 0 && state.ties.includes(position), many: state.order.length, assignment, view, setHtml, act });
  });
  return make("ol", { className: `ranks${view.columns ? " columns" : ""}${state.cannot ? " off" : ""}`, "aria-label": "Answers, best first" }, ...rows);
}

function row({ candidate, number, position, at, rank, tied, many, assignment, view, setHtml, act }) {
  const choice = make(
    "select",
    { id: `rank-${position}`, className: "rank-select", ariaLabel: `Rank of answer ${number}`, on: { change: (event) => act("setRank", { position, rank: Number(event.target.value) }) } },
    make("option", { value: "", disabled: true, selected: rank === null }, "–"),
    ...Array.from({ length: many }, (_, one) => make("option", { value: String(one + 1), selected: rank === one + 1 }, String(one + 1))),
  );
  const grip = make("span", { className: "grip", title: "Drag to move", ariaHidden: "true", "data-grip": String(position) }, "⠿");
  const move = (does, label, sign, dead) =>
    make("button", { type: "button", id: `${does}-${position}`, className: "btn move", ariaLabel: `${label}: answer ${number}`, disabled: dead, on: { click: () => act(does, { position }) } }, sign);
  return make(
    "li",
    { className: `cand${tied ? " tied" : ""}${view.focus === at ? " focus" : ""}`, "data-position": String(position), "data-place": String(at), "aria-label": `Answer ${number}${rank === null ? ", no rank yet" : `, rank ${rank}${tied ? ", tied with the one above" : ""}`}` },
    make("div", { className: "place" }, choice, make("small", {}, hint(String(number)), tied ? " tie" : ""), grip),
    body(candidate, view, null, setHtml),
    make(
      "div",
      { className: "moves" },
      move("up", "Move up", "▲", at === 0),
      move("down", "Move down", "▼", at === many - 1),
      assignment.allow_tie && make("button", { type: "button", id: `tie-${position}`, className: `btn move${tied ? " on" : ""}`, ariaLabel: `Tie answer ${number} with the one above`, ariaPressed: String(tied), disabled: at === 0, on: { click: () => act("tie", { position }) } }, "="),
    ),
  );
}

function remarks(view, config, act) {
  const flags = view.flags.map((flag) => make("span", { className: "tag warn" }, `Flag: ${config.flags[flag]}`));
  const area = make("textarea", { id: "comment", rows: 2, dir: "auto", maxLength: 10_000, value: view.comment, placeholder: "Why? What decided it?", on: { input: (event) => act("commented", { text: event.target.value }) } });
  const field = make("label", { className: "comment", hidden: !view.comment && !view.commenting }, make("span", { className: "quiet" }, "Comment ", make("small", {}, make("kbd", {}, "Esc"), " leaves it")), area);
  return make("section", { className: "remarks", "aria-label": "Flags and comment" }, ...flags, field);
}

/** Draw the bar at the foot: every action with its key, the state of saving, and Submit. */
export function drawFoot(foot, { assignment, state, status, act }) {
  const rows = keysFor(assignment);
  const has = (does) => rows.some((row) => row.does === does);
  const button = (does, label, key, extra = {}) =>
    make("button", { type: "button", className: "btn plain", "data-do": does, on: { click: () => act(does) }, ...extra }, hint(key), " ", label);
  const isRank = assignment?.kind === "rank";
  const bad = isRank ? state?.cannot : state?.bothBad;
  const rest = () => [
    has("flag") && button("flag", "Flag", "f"),
    has("comment") && button("comment", "Comment", "c"),
    button("guidelines", "Keys", "?"),
  ];
  const open = foot.querySelector("details")?.open ?? false;
  const focus = rememberFocus(foot);
  foot.replaceChildren(
    button("undo", "Undo", "u"),
    ...[has("skip") && button("skip", "Skip", "s"), has("bad") && button("bad", isRank ? "Cannot rank" : "Both bad", "b", { ariaPressed: String(Boolean(bad)), className: `btn plain${bad ? " on" : ""}` })].filter(Boolean),
    make("div", { className: "wide-only row" }, ...rest()),
    make("details", { className: "menu up narrow-only", open }, make("summary", { className: "btn plain" }, "More"), make("div", { className: "menu-body" }, ...rest())),
    make(
      "div",
      { className: "spread" },
      make("small", { id: "status", className: status.tone ?? "" }, status.text),
      assignment && make("button", { type: "button", id: "submit", className: "btn main", "data-do": "submit", ariaDisabled: String(missing(state) !== null), on: { click: () => act("submit") } }, "Submit ", make("kbd", { ariaHidden: "true" }, "Enter")),
    ),
  );
  restoreFocus(foot, focus);
}

/** Draw the reasons why there is nothing to judge. */
export function drawNothing(root, queue, trouble, act) {
  const reasons = queue?.reasons ?? [];
  const isWaiting = !queue || queue.open > 0 || queue.held > 0;
  root.className = "";
  root.replaceChildren(
    make(
      "section",
      { className: "card empty" },
      make("h1", { id: "question", tabIndex: -1 }, trouble ? "Waiting for the server" : isWaiting ? "Fetching the next comparison" : "Nothing to judge right now"),
      ...reasons.map((reason) => make("p", {}, reason)),
      make("p", { className: "quiet" }, "This page looks again by itself."),
      make("div", { className: "row" }, make("button", { type: "button", className: "btn main", on: { click: () => act("again") } }, "Look again"), make("a", { className: "btn", href: "/" }, "Your projects")),
    ),
  );
}

/** Print the key list from the table of keys. */
export function drawKeys(body, assignment) {
  body.replaceChildren(
    ...keysFor(assignment).map((row) =>
      make("tr", {}, make("td", {}, ...row.keys.flatMap((key, at) => [at ? " " : "", make("kbd", { className: isSingle(key) ? "single" : "" }, key)])), make("td", {}, row.says)),
    ),
  );
}

export function statusOf({ work, isKept, state }) {
  if (work.trouble?.kind === "offline") return { text: `${work.waiting} not saved yet`, tone: "warn" };
  if (work.waiting) return { text: "Saving…" };
  if (isKept && state && !isEmpty(state)) return { text: "Draft kept" };
  if (work.savedAt) return { text: `Saved ${work.savedAt.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false })}` };
  return { text: "" };
}

function rememberFocus(root) {
  const active = document.activeElement;
  if (!root.contains(active)) return null;
  const selection = active.matches("textarea") ? [active.selectionStart, active.selectionEnd] : null;
  return { id: active.id, does: active.dataset.do, selection };
}

function restoreFocus(root, focus) {
  if (!focus) return;
  const found = (focus.id && root.querySelector(`#${CSS.escape(focus.id)}`)) || (focus.does && root.querySelector(`[data-do="${focus.does}"]`));
  if (!found) return;
  found.focus({ preventScroll: true });
  if (focus.selection) found.setSelectionRange(...focus.selection);
}
