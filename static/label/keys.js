// The keys of the labeling page: one table that the handler obeys and the key list prints.
// `single` keys are characters typed alone; they do nothing while typing and can be switched off.

const JUDGED_BY_ORDER = ["pick", "rank"];

export const KEYS = [
  { digits: choicesOf, does: "digit", kinds: ["pick"], says: "Pick that response" },
  { digits: choicesOf, does: "digit", kinds: ["rank"], says: "Give it the next rank" },
  { digits: (one) => [1, one.rating_max], does: "digit", kinds: ["rate"], says: "Set the rating and continue" },
  { keys: ["1"], does: "good", kinds: ["thumbs"], says: "Thumb up" },
  { keys: ["2"], does: "poor", kinds: ["thumbs"], says: "Thumb down" },
  { digits: reasonsOf, does: "digit", kinds: ["thumbs"], says: "Add that reason, or remove it" },
  { keys: ["e"], does: "text", kinds: ["write", "edit"], says: "Go to the text (Esc leaves it)" },
  { keys: ["o"], does: "original", kinds: ["edit"], says: "Restore the original, or your version" },
  { keys: ["0", "="], does: "tie", kinds: ["pick"], needs: "allow_tie", says: "About the same" },
  { keys: ["0", "="], does: "tie", kinds: ["rank"], needs: "allow_tie", says: "Tie with the one above" },
  { keys: ["b"], does: "bad", kinds: ["pick"], needs: "allow_both_bad", says: "Both bad" },
  { keys: ["b"], does: "bad", kinds: ["rank"], needs: "allow_both_bad", says: "Cannot be ranked" },
  { keys: ["←"], does: "left", kinds: ["pick"], says: "To the left on the scale" },
  { keys: ["→"], does: "right", kinds: ["pick"], says: "To the right on the scale" },
  { keys: ["j"], does: "next", kinds: JUDGED_BY_ORDER, says: "Next response" },
  { keys: ["k"], does: "previous", kinds: JUDGED_BY_ORDER, says: "Previous response" },
  { keys: ["j"], does: "next", kinds: ["rate"], says: "Next rating" },
  { keys: ["k"], does: "previous", kinds: ["rate"], says: "Previous rating" },
  { keys: ["Alt+↑"], does: "up", kinds: ["rank"], says: "Move it up" },
  { keys: ["Alt+↓"], does: "down", kinds: ["rank"], says: "Move it down" },
  { keys: ["Enter", "Ctrl+Enter"], does: "submit", says: "Submit, once complete" },
  { keys: ["u"], does: "undo", needs: "judging", says: "Undo, up to ten judgments" },
  { keys: ["s"], does: "skip", needs: "judging", says: "Skip, with the reason" },
  { keys: ["f"], does: "flag", needs: "judging", says: "Flag" },
  { keys: ["c"], does: "comment", needs: "judging", says: "Comment (Esc leaves it)" },
  { keys: ["h", "?"], does: "guidelines", says: "Guidelines and keys" },
  { keys: ["d"], does: "difference", kinds: JUDGED_BY_ORDER, needs: "two", says: "Show the difference" },
  { keys: ["d"], does: "difference", kinds: ["edit"], says: "Show what you changed" },
  { keys: ["l"], does: "layout", needs: "several", says: "Side by side, or one below the other" },
  { keys: ["r"], does: "raw", says: "Show the raw text" },
  { keys: ["z"], does: "full", says: "Full screen" },
];

const NEEDS = {
  judging: (assignment) => !assignment.is_practice,
  two: (assignment) => assignment.candidates.length === 2,
  several: (assignment) => assignment.candidates.length > 1,
};
const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

/** Return the rows that hold for an assignment, digits written out as a range. */
export function keysFor(assignment) {
  if (!assignment) return KEYS.filter((row) => ["undo", "guidelines"].includes(row.does));
  return KEYS.filter(
    (row) =>
      (!row.kinds || row.kinds.includes(assignment.kind)) &&
      (!row.needs || (NEEDS[row.needs]?.(assignment) ?? assignment[row.needs])),
  ).flatMap((row) => {
    if (!row.digits) return [row];
    const [from, to] = row.digits(assignment);
    return from > to ? [] : [{ ...row, from, to, keys: [from === to ? `${from}` : `${from}–${to}`] }];
  });
}

/** True for a key that is a character of its own, and so may be switched off. */
export function isSingle(key) {
  return /^\d–\d$/.test(key) || ([...key].length === 1 && !"←→".includes(key));
}

/** Return what a key press means: an action and maybe a digit; null when it means nothing here. */
export function meaning(event, assignment, { singleKeys = true } = {}) {
  const inText = isTyping(event.target);
  const rows = keysFor(assignment);
  for (const pressed of namesOf(event)) {
    if (pressed === "Enter" && onControl(event.target)) continue;
    if (inText && pressed !== "Ctrl+Enter") continue;
    for (const row of rows) {
      if (row.digits) {
        const digit = singleKeys && /^[1-9]$/.test(pressed) ? Number(pressed) : 0;
        if (digit >= row.from && digit <= row.to) return { does: row.does, digit };
      } else if (row.keys.some((key) => key === pressed && (singleKeys || !isSingle(key)))) {
        return { does: row.does };
      }
    }
  }
  return null;
}

/** Return the press as the table writes it; then as the same key of a Latin keyboard, if it has no such letter. */
function namesOf(event) {
  const modifiers = [(event.ctrlKey || event.metaKey) && "Ctrl", event.altKey && "Alt"].filter(Boolean);
  const key = NAMES[event.key] ?? (event.key.length === 1 ? event.key.toLowerCase() : event.key);
  const names = [[...modifiers, key].join("+")];
  const [, letter, digit] = /^(?:Key([A-Z])|(?:Digit|Numpad)(\d))$/.exec(event.code ?? "") ?? [];
  const isForeign = event.key.length === 1 && !/[a-z0-9]/i.test(event.key) && !event.shiftKey;
  if (isForeign && (letter || digit)) names.push([...modifiers, letter?.toLowerCase() ?? digit].join("+"));
  return names;
}

function choicesOf(assignment) {
  return [1, assignment.candidates.length];
}

function reasonsOf(assignment) {
  return [3, 2 + Math.max(...Object.values(assignment.reasons).map((reasons) => Object.keys(reasons).length), 0)];
}

function isTyping(target) {
  return target instanceof Element && target.matches("textarea, select, input:not([type=checkbox], [type=radio]), [contenteditable]");
}

function onControl(target) {
  return target instanceof Element && target.closest("button, a, summary, select, input, textarea, label") !== null;
}
