// Which words of two texts differ: the longest common subsequence, so that what both say stays unmarked.

const MOST_CELLS = 4_000_000;

export function words(text) {
  return text.match(/\s+|[\p{L}\p{N}\p{M}_'’-]+|[^\s]/gu) ?? [];
}

/** Return for each of two texts its runs, [{ text, own }]: own is true for words that only it has. */
export function difference(first, second) {
  const a = words(first);
  const b = words(second);
  const width = b.length + 1;
  if ((a.length + 1) * width > MOST_CELLS) return [[{ text: first, own: false }], [{ text: second, own: false }]];
  const length = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      length[i * width + j] =
        a[i] === b[j] ? length[(i + 1) * width + j + 1] + 1 : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  const runs = [[], []];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      add(runs[0], a[i++], false);
      add(runs[1], b[j++], false);
    } else if (j >= b.length || (i < a.length && length[(i + 1) * width + j] >= length[i * width + j + 1])) {
      add(runs[0], a[i++], true);
    } else {
      add(runs[1], b[j++], true);
    }
  }
  return runs;
}

function add(runs, text, own) {
  const last = runs.at(-1);
  if (last && (last.own === own || !text.trim())) last.text += text;
  else runs.push({ text, own: own && text.trim() !== "" });
}
