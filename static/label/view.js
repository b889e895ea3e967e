// Draws the comparison in hand: the prompt, the question with its views, what the kind draws, flags and comment.
// Everything is drawn from the state; nothing here decides anything.

import { isRightToLeft } from "./direction.js";
import { keepingFocus, make } from "./dom.js";
import { KINDS } from "./kinds.js";
import { keysFor } from "./keys.js";
import { differenceNote } from "./parts.js";

const WHO = { assistant: "Assistant", system: "Instruction", user: "Prompt" };

/** Draw a whole comparison. `act(does, details)` is what every control calls. */
export function draw(root, context) {
  const { assignment, state, view } = context;
  const kind = KINDS[assignment.kind];
  keepingFocus(root, () => {
    root.replaceChildren(
      ...[
        prompt(root, context),
        differenceNote(context),
        ...kind.draw(context),
        remarks(context),
      ].filter(Boolean),
    );
  });
  ask([make("h1", { id: "question", tabIndex: -1 }, kind.question), tools(context)]);
  const looks = [assignment.kind, view.full && "full", kind.isBad?.(state) && "bad"];
  root.className = looks.filter(Boolean).join(" ");
  root.dir = isRightToLeft(assignment) ? "rtl" : "ltr";
  reachable(root);
}

/** Show the question and the views in the header, or nothing of them. */
export function ask(parts) {
  const place = document.getElementById("ask");
  keepingFocus(place, () => place.replaceChildren(...parts));
}

/** The prompt stays the same element while its comparison is on screen, so that it stays where it was scrolled to. */
function prompt(root, { assignment, view, setHtml }) {
  const key = `${assignment.id} ${view.raw}`;
  const old = root.querySelector(".prompt");
  if (old?.dataset.key === key) return old;
  const turns = assignment.messages.map((message) => {
    const text = view.raw ? make("pre", { className: "raw", dir: "auto" }, message.raw) : make("div", { className: "text", dir: "auto" });
    if (!view.raw) setHtml(text, message.html);
    return make("div", { className: `turn ${message.role}` }, make("div", { className: "who" }, WHO[message.role] ?? message.role), text);
  });
  const instruction = assignment.instruction && make("p", { className: "instruction", dir: "auto" }, assignment.instruction);
  return make("section", { className: "prompt", "data-key": key, "aria-label": "Prompt", role: "region" }, instruction || null, ...turns);
}

function tools({ assignment, view, act }) {
  const rows = keysFor(assignment);
  const tool = (does, label, on) => {
    const row = rows.find((one) => one.does === does);
    return row && make("button", { type: "button", className: "btn plain tool", "data-do": does, ariaPressed: String(Boolean(on)), title: `Key ${row.keys[0]}`, on: { click: () => act(does) } }, label);
  };
  return make(
    "div",
    { className: "row tools", role: "group", "aria-label": "View" },
    tool("difference", assignment.kind === "edit" ? "Changes" : "Difference", view.difference),
    tool("layout", "Side by side", view.columns),
    tool("raw", "Raw", view.raw),
    tool("full", "Full screen", view.full),
  );
}

function remarks({ view, config, act }) {
  const flags = view.flags.map((flag) => make("span", { className: "tag warn" }, `Flag: ${config.flags[flag]}`));
  const area = make("textarea", { id: "comment", rows: 2, dir: "auto", maxLength: 10_000, value: view.comment, placeholder: "Why? What decided it?", on: { input: (event) => act("commented", { text: event.target.value }) } });
  const field = make("label", { className: "comment", hidden: !view.comment && !view.commenting }, make("span", { className: "quiet" }, "Comment ", make("small", {}, make("kbd", {}, "Esc"), " leaves it")), area);
  return make("section", { className: "remarks", "aria-label": "Flags and comment" }, ...flags, field);
}

/** What scrolls inside the page can be reached and scrolled by keyboard. */
function reachable(root) {
  for (const box of root.querySelectorAll(".prompt, .text table, .text pre, pre.raw")) {
    if (box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1) box.tabIndex = 0;
  }
}

/** Say how much of the window the prompt takes while it stays in view, and where shorter responses wait for longer ones. */
export function settle(root) {
  const top = root.querySelector(".prompt");
  const isSticky = top && getComputedStyle(top).position === "sticky";
  const taken = isSticky ? top.offsetHeight : 0;
  const foot = document.getElementById("foot")?.offsetHeight ?? 0;
  document.documentElement.style.setProperty("--prompt-height", `${taken}px`);
  document.documentElement.style.setProperty("--foot-height", `${foot}px`);
  for (const inner of root.querySelectorAll(".pair > .cand > .inner")) {
    const room = window.innerHeight - foot - inner.offsetHeight - 24;
    inner.style.setProperty("--waits-at", `${Math.min(taken + 12, room)}px`);
  }
}
