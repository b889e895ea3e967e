// Thumbs: one response, up or down, and why; how it is drawn, and what keys and clicks do to it.
// The judgment in hand is { kind, thumb, reasons }: thumb is "up", "down" or null; reasons are those of that thumb.

import { hint, make } from "./dom.js";
import { responseBody, responses } from "./parts.js";

const FIRST_REASON = 3; // 1 and 2 are the thumbs

function turn(desk, thumb) {
  if (desk.answer.thumb === thumb) return;
  desk.change({ ...desk.answer, thumb, reasons: [] });
  desk.say(thumb === "up" ? "Thumb up." : "Thumb down.");
}

const actions = {
  good: (desk) => turn(desk, "up"),
  poor: (desk) => turn(desk, "down"),
  digit(desk, { digit }) {
    if (!desk.answer.thumb) return desk.flash("Press 1 or 2 first, then the reason.");
    const reason = Object.keys(desk.assignment.reasons[desk.answer.thumb] ?? {})[digit - FIRST_REASON];
    if (reason) actions.reason(desk, { reason });
  },
  reason(desk, { reason }) {
    const { thumb, reasons } = desk.answer;
    const isOn = reasons.includes(reason);
    desk.change({ ...desk.answer, reasons: isOn ? reasons.filter((one) => one !== reason) : [...reasons, reason] });
    desk.say(`${desk.assignment.reasons[thumb][reason]}: ${isOn ? "off" : "on"}.`);
  },
};

// --- how it is drawn -----------------------------------------------------------------------------

function card({ candidate, context }) {
  return make("article", { className: "cand", "data-place": "0", "aria-label": "Response" }, responseBody(candidate, context));
}

function buttons({ state, act }) {
  const thumb = (value, does, label, key) => {
    const on = state.thumb === value;
    return make(
      "button",
      { type: "button", id: `thumb-${value}`, className: `btn thumb ${value}${on ? " on" : ""}`, ariaPressed: String(on), on: { click: () => act(does) } },
      make("span", { className: "thumb-sign", ariaHidden: "true" }),
      `${label} `,
      hint(key),
    );
  };
  return make("div", { className: "row thumbs", role: "group", "aria-label": "Good or bad?" }, thumb("up", "good", "Good", "1"), thumb("down", "poor", "Bad", "2"));
}

function reasons({ assignment, state, act }) {
  const offered = Object.entries(assignment.reasons[state.thumb] ?? {});
  if (!offered.length) return make("p", { className: "quiet reasons" }, "Then the reasons, if any.");
  const chips = offered.map(([reason, text], at) => {
    const on = state.reasons.includes(reason);
    return make(
      "button",
      { type: "button", id: `reason-${reason}`, className: `btn reason${on ? " on" : ""}`, ariaPressed: String(on), on: { click: () => act("reason", { reason }) } },
      hint(String(FIRST_REASON + at)),
      ` ${text}`,
    );
  });
  return make("div", { className: "row reasons", role: "group", "aria-label": "Why?" }, make("span", { className: "quiet" }, "Why?"), ...chips);
}

export const thumbs = {
  question: "Is this response good?",
  empty: () => ({ kind: "thumbs", thumb: null, reasons: [] }),
  restore: (assignment, answer) => ({ kind: "thumbs", thumb: answer.thumb, reasons: [...answer.reasons] }),
  toAnswer: (state) => ({ kind: "thumbs", thumb: state.thumb, reasons: state.reasons }),
  isEmpty: (state) => state.thumb === null,
  missing: (state) => (state.thumb === null ? "Choose good or bad first." : null),
  words: (assignment, state) =>
    [{ up: "good", down: "bad" }[state.thumb] ?? "nothing yet", ...state.reasons.map((one) => assignment.reasons[state.thumb]?.[one] ?? one)].join(", "),
  actions,
  firstFocus: -1,
  places: () => 1,
  draw: (context) => [responses(context, card), make("section", { className: "verdict", "aria-label": "Your judgment" }, buttons(context), reasons(context))],
};
