// The keys of the labeling page: one table that the handler obeys and the key list prints.
// `single` keys are characters typed alone; they do nothing while typing and can be switched off.

export const KEYS = [
  { keys: ["1–9"], does: "digit", kinds: ["pick"], says: "Pick that one" },
  { keys: ["1–9"], does: "digit", kinds: ["rank"], says: "Give it the next rank" },
  { keys: ["0", "="], does: "tie", kinds: ["pick"], needs: "allow_tie", says: "About the same" },
  { keys: ["0", "="], does: "tie", kinds: ["rank"], needs: "allow_tie", says: "Tie with the one above" },
  { keys: ["b"], does: "bad", kinds: ["pick"], needs: "allow_both_bad", says: "Both bad" },
  { keys: ["b"], does: "bad", kinds: ["rank"], needs: "allow_both_bad", says: "Cannot be ranked" },
  { keys: ["←"], does: "weaker", kinds: ["pick"], says: "Towards the first answer" },
  { keys: ["→"], does: "stronger", kinds: ["pick"], says: "Towards the second answer" },
  { keys: ["j"], does: "next", says: "Next answer" },
  { keys: ["k"], does: "previous", says: "Answer before" },
  { keys: ["Alt+↑"], does: "up", kinds: ["rank"], says: "Move it up" },
  { keys: ["Alt+↓"], does: "down", kinds: ["rank"], says: "Move it down" },
  { keys: ["Enter", "Ctrl+Enter"], does: "submit", says: "Submit, once complete" },
  { keys: ["u"], does: "undo", says: "Undo, ten deep" },
  { keys: ["s"], does: "skip", says: "Skip, with the reason" },
  { keys: ["f"], does: "flag", says: "Flag" },
  { keys: ["c"], does: "comment", says: "Comment" },
  { keys: ["h", "?"], does: "guidelines", says: "Guidelines and keys" },
  { keys: ["d"], does: "difference", needs: "two", says: "Show the difference" },
  { keys: ["r"], does: "raw", says: "Show the raw text" },
  { keys: ["z"], does: "full", says: "Full screen" },
];

const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

/** Return the rows that hold for an assignment. */
export function keysFor(assignment) {
  if (!assignment) return KEYS.filter((row) => ["undo", "guidelines"].includes(row.does));
  return KEYS.filter(
    (row) =>
      (!row.kinds || row.kinds.includes(assignment.kind)) &&
      (!row.needs || (row.needs === "two" ? assignment.candidates.length === 2 : assignment[row.needs])),
  );
}

/** True for a key that is a character of its own, and so may be switched off. */
export function isSingle(key) {
  return [...key].length === 1 && !"←→".includes(key) ? true : key === "1–9";
}

/** Return what a key press means: an action and maybe a digit; null when it means nothing here. */
export function meaning(event, assignment, { singleKeys = true } = {}) {
  const inText = isTyping(event.target);
  const pressed = name(event);
  if (pressed === "Enter" && onControl(event.target)) return null;
  if (inText && pressed !== "Ctrl+Enter") return null;
  for (const row of keysFor(assignment)) {
    for (const key of row.keys) {
      if (isSingle(key) && !singleKeys) continue;
      if (key === "1–9" && /^[1-9]$/.test(pressed)) {
        if (Number(pressed) <= assignment.candidates.length) return { does: row.does, digit: Number(pressed) };
      } else if (key === pressed) {
        return { does: row.does };
      }
    }
  }
  return null;
}

function name(event) {
  const key = NAMES[event.key] ?? (event.key.length === 1 ? event.key.toLowerCase() : event.key);
  const modifiers = [(event.ctrlKey || event.metaKey) && "Ctrl", event.altKey && "Alt"].filter(Boolean);
  return [...modifiers, key].join("+");
}

function isTyping(target) {
  return target instanceof Element && target.matches("textarea, select, input:not([type=checkbox], [type=radio]), [contenteditable]");
}

function onControl(target) {
  return target instanceof Element && target.closest("button, a, summary, select, input, textarea, label") !== null;
}
