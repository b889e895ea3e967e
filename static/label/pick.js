// Pick: the judgment of two responses, how it is drawn, and what keys and clicks do to it.
// The judgment in hand is { kind, preferred, strength, bothBad }, sides by their canonical letter.

import { hint, make } from "./dom.js";
import { responseBody, responses } from "./parts.js";
import { isRightToLeft } from "./direction.js";

const side = (candidate) => "ab"[candidate.position];

function prefer(state, preferred, strength = null) {
  return { ...state, preferred, strength: preferred === "tie" ? null : strength };
}

/** Return the scale from the strongest preference for the first response to that for the second. */
export function scale(assignment) {
  const [first, second] = assignment.candidates.map(side);
  const steps = assignment.strengths;
  const of = (preferred) => (steps.length ? steps.map((strength) => ({ preferred, strength })) : [{ preferred, strength: null }]);
  const middle = assignment.allow_tie ? [{ preferred: "tie", strength: null }] : [];
  return [...of(first).reverse(), ...middle, ...of(second)];
}

/** Move along the scale; the first move takes the step next to the middle. */
export function nudge(state, assignment, by) {
  const steps = scale(assignment);
  const sides = assignment.candidates.map(side);
  let at = steps.findIndex((step) => step.preferred === state.preferred && step.strength === state.strength);
  if (at < 0) {
    const chosen = state.preferred ?? sides[by < 0 ? 0 : 1];
    const own = steps.filter((step) => step.preferred === chosen);
    const next = chosen === sides[0] ? own.at(-1) : own[0];
    return next ? { ...state, ...next } : state;
  }
  at = Math.min(Math.max(at + by, 0), steps.length - 1);
  return { ...state, ...steps[at] };
}

function nudged(desk, toRight) {
  const by = toRight !== isRightToLeft(desk.assignment) ? 1 : -1;
  desk.change(nudge(desk.answer, desk.assignment, by));
  desk.say(words(desk.assignment, desk.answer, desk.config));
}

function words(assignment, state, config) {
  const bad = state.bothBad ? "both bad" : "";
  if (state.preferred === null) return bad || "nothing yet";
  const number = assignment.candidates.findIndex((one) => side(one) === state.preferred) + 1;
  const how = state.strength ? `${config.strengths[state.strength].toLowerCase()} ` : "";
  const said = state.preferred === "tie" ? "about the same" : `response ${number} is ${how}better`;
  return bad ? `${said}, ${bad}` : said;
}

const actions = {
  digit: (desk, { digit }) => actions.choose(desk, { digit }),
  choose(desk, { digit }) {
    const letter = side(desk.assignment.candidates[digit - 1]);
    if (desk.answer.preferred === letter) return;
    desk.change(prefer(desk.answer, letter));
    desk.say(`Response ${digit} is better.`);
  },
  step: (desk, { preferred, strength }) => desk.change(prefer(desk.answer, preferred, strength)),
  tie(desk) {
    desk.change(prefer(desk.answer, "tie"));
    desk.say("About the same.");
  },
  bad(desk) {
    desk.change({ ...desk.answer, bothBad: !desk.answer.bothBad });
    desk.say(desk.answer.bothBad ? "Both bad." : "Not both bad.");
  },
  left: (desk) => nudged(desk, false),
  right: (desk) => nudged(desk, true),
};

// --- how it is drawn -----------------------------------------------------------------------------

function card({ candidate, place, runs, context }) {
  const { state, view, act } = context;
  const on = state.preferred === side(candidate);
  const choose = make(
    "button",
    { type: "button", className: "choose", id: `choose-${place + 1}`, ariaPressed: String(on), on: { click: () => act("choose", { digit: place + 1 }) } },
    hint(String(place + 1)),
    make("span", {}, make("span", { className: "visually-hidden" }, `Response ${place + 1}: `), on ? "Better" : "This one is better"),
  );
  const article = make(
    "article",
    { className: `cand${on ? " on" : ""}${view.focus === place ? " focus" : ""}`, "data-place": String(place), "aria-label": `Response ${place + 1}` },
    make("div", { className: "inner" }, make("header", {}, choose), responseBody(candidate, context, runs)),
  );
  article.addEventListener("click", (event) => {
    if (!event.target.closest("button, a") && !String(window.getSelection())) act("choose", { digit: place + 1 });
  });
  return article;
}

function steps({ assignment, state, config, act }) {
  const [first] = assignment.candidates.map(side);
  const all = scale(assignment).filter((step) => step.preferred === "tie" || assignment.strengths.length);
  const buttons = all.map((step) => {
    const isTie = step.preferred === "tie";
    const place = step.preferred === first ? 1 : 2;
    const on = state.preferred === step.preferred && state.strength === step.strength;
    return make(
      "button",
      {
        type: "button",
        id: `step-${step.preferred}-${step.strength ?? 0}`,
        className: `step side-${isTie ? 0 : place}${on ? " on" : ""}`,
        ariaPressed: String(on),
        ...(!isTie && { ariaLabel: `${config.strengths[step.strength]} ${place}: response ${place} is ${config.strengths[step.strength].toLowerCase()} better` }),
        on: { click: () => act("step", step) },
      },
      isTie ? "About the same" : `${config.strengths[step.strength]} ${place}`,
      isTie && " ",
      isTie && hint("0"),
    );
  });
  const sides = [1, 2].map((place) => {
    const on = state.preferred === side(assignment.candidates[place - 1]);
    return make(
      "button",
      { type: "button", id: `side-${place}`, className: `side${on ? " on" : ""}`, ariaPressed: String(on), ariaLabel: `${place} is better: response ${place}`, on: { click: () => act("choose", { digit: place }) } },
      `${place} is better`,
    );
  });
  const tie = all.find((step) => step.preferred === "tie") ? buttons.splice(all.findIndex((step) => step.preferred === "tie"), 1) : [];
  const half = buttons.length / 2;
  const chosen = assignment.candidates.findIndex((one) => side(one) === state.preferred) + 1;
  const arrows = assignment.strengths.length ? ["←", "→"].map(hint) : [null, null];
  if (isRightToLeft(assignment)) arrows.reverse();
  return make(
    "section",
    { className: `scale of-${assignment.strengths.length}${all.length ? "" : " bare"}`, role: "group", "aria-label": "How much better?", "data-chosen": String(chosen) },
    make("div", { className: "steps" }, arrows[0], sides[0], ...buttons.slice(0, half), ...tie, sides[1], ...buttons.slice(half), arrows[1]),
  );
}

export const pick = {
  question: "Which response is better?",
  empty: () => ({ kind: "pick", preferred: null, strength: null, bothBad: false }),
  restore: (assignment, answer) => ({ kind: "pick", preferred: answer.preferred, strength: answer.strength, bothBad: answer.both_bad }),
  toAnswer: (state) => ({ kind: "pick", preferred: state.preferred, strength: state.strength, both_bad: state.bothBad }),
  isEmpty: (state) => state.preferred === null && !state.bothBad,
  missing: (state) => (state.preferred === null && !state.bothBad ? "Choose a response first." : null),
  words,
  actions,
  firstFocus: -1,
  places: (assignment) => assignment.candidates.length,
  isBad: (state) => state.bothBad,
  badLabel: "Both bad",
  draw: (context) => [responses(context, card), steps(context)],
};
