// Which way a comparison is read. Its texts find their own direction (dir=auto); this decides on which side the
// first response stands and where the scale begins.

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/gu;
const LETTERS = /\p{L}/gu;
const LOOKED_AT = 2000;

const known = new WeakMap();

/** True when most letters of the prompt and the responses are read from right to left. */
export function isRightToLeft(assignment) {
  if (!known.has(assignment)) {
    const texts = [...assignment.messages.map((one) => one.content), ...assignment.candidates.map((one) => one.text)];
    const start = texts.map((text) => text.slice(0, LOOKED_AT)).join(" ");
    known.set(assignment, count(start, RIGHT_TO_LEFT) * 2 > count(start, LETTERS));
  }
  return known.get(assignment);
}

function count(text, pattern) {
  return text.match(pattern)?.length ?? 0;
}
