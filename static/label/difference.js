// Which words of two texts differ: the longest common subsequence, so that what both say stays unmarked.
// Texts too long for that are compared line by line.

const MOST_CELLS = 4_000_000;

export function words(text) {
  return text.match(/\s+|[\p{L}\p{N}\p{M}_'’-]+|[^\s]/gu) ?? [];
}

function lines(text) {
  return text.match(/.*\n|.+$/gu) ?? [];
}

/** Return for each of two texts its runs, [{ text, own }]: own is true for words that only it has. */
export function difference(first, second) {
  const runs = [[], []];
  for (const { word, is } of compared(first, second)) {
    if (is !== "fresh") add(runs[0], word, is === "gone");
    if (is !== "gone") add(runs[1], word, is === "fresh");
  }
  return runs;
}

/** Return both texts as one, [{ text, is }]: is says whether a run is the same, gone or fresh. */
export function merged(first, second) {
  const runs = [];
  for (const { word, is } of compared(first, second)) {
    if (runs.at(-1)?.is === is) runs.at(-1).text += word;
    else runs.push({ text: word, is });
  }
  return runs;
}

/** True where two texts are compared line by line. */
export function isByLine(first, second) {
  return (words(first).length + 1) * (words(second).length + 1) > MOST_CELLS;
}

/** Return every word in turn, [{ word, is }]. */
function compared(first, second) {
  const [a, b] = [first, second].map(isByLine(first, second) ? lines : words);
  const start = commonStart(a, b);
  const end = commonStart(a.slice(start).reverse(), b.slice(start).reverse());
  const same = (all) => all.map((word) => ({ word, is: "same" }));
  const middle = inner(a.slice(start, a.length - end), b.slice(start, b.length - end));
  return [...same(a.slice(0, start)), ...middle, ...same(a.slice(a.length - end))];
}

function commonStart(a, b) {
  let at = 0;
  while (at < a.length && at < b.length && a[at] === b[at]) at++;
  return at;
}

function inner(a, b) {
  const found = [];
  const width = b.length + 1;
  if ((a.length + 1) * width > MOST_CELLS) return [...a.map((word) => ({ word, is: "gone" })), ...b.map((word) => ({ word, is: "fresh" }))];
  const length = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      length[i * width + j] =
        a[i] === b[j] ? length[(i + 1) * width + j + 1] + 1 : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      found.push({ word: a[i++], is: "same" });
      j++;
    } else if (j >= b.length || (i < a.length && length[(i + 1) * width + j] >= length[i * width + j + 1])) {
      found.push({ word: a[i++], is: "gone" });
    } else {
      found.push({ word: b[j++], is: "fresh" });
    }
  }
  return found;
}

function add(runs, text, own) {
  const last = runs.at(-1);
  if (last && (last.own === own || !text.trim())) last.text += text;
  else runs.push({ text, own: own && text.trim() !== "" });
}
