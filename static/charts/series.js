// The lines of charts as data: smoothing, thinning, ranges and files. Nothing here touches the page.

import { firstFrom } from "./scale.js";

/** Smoothing by an exponential moving average (EMA): the weight of the past after one step, and its name. */
export const SMOOTHINGS = [
  { weight: 0, name: "None" },
  { weight: 0.6, name: "EMA 0.6" },
  { weight: 0.9, name: "EMA 0.9" },
  { weight: 0.97, name: "EMA 0.97" },
  { weight: 0.99, name: "EMA 0.99" },
  { weight: 0.999, name: "EMA 0.999" },
];

/** Return the EMA of values at ascending places, corrected for its start: the first value is itself, not a share of it.
 *
 * The past fades by the weight with every step and not with every point, so that lines with a point every ten steps, and
 * thinned-out ones, are smoothed like the others.
 */
export function ema(xs, ys, weight) {
  let sum = 0;
  let mass = 0;
  return ys.map((value, at) => {
    const past = at ? weight ** (xs[at] - xs[at - 1]) : weight;
    sum = past * sum + (1 - past) * value;
    mass = past * mass + (1 - past);
    return sum / mass;
  });
}

/** Return the indexes of the points that a line of so many pixels needs between two places.
 *
 * Of each pixel's points these are the first, lowest, highest and last, so that no peak is lost; one neighbor on each
 * side lets the line leave the frame.
 */
export function visible(xs, ys, from, to, pixels) {
  const start = Math.max(firstFrom(xs, from) - 1, 0);
  const end = Math.min(firstFrom(xs, to), xs.length - 1);
  if (end - start < 4 * pixels) return Array.from({ length: end - start + 1 }, (_, at) => start + at);
  const kept = [];
  const width = (to - from) / pixels || 1;
  for (let at = start; at <= end; ) {
    const bin = Math.floor((xs[at] - from) / width);
    const first = at;
    let low = at;
    let high = at;
    for (; at <= end && Math.floor((xs[at] - from) / width) === bin; at++) {
      if (ys[at] < ys[low]) low = at;
      if (ys[at] > ys[high]) high = at;
    }
    kept.push(...[...new Set([first, low, high, at - 1])].sort((one, other) => one - other));
  }
  return kept;
}

/** Return all places of the lines and events, ascending. */
export function places(lines, events = []) {
  const all = new Set(events.map((event) => event.x));
  for (const line of lines) for (const x of line.x) all.add(x);
  return [...all].sort((one, other) => one - other);
}

/** Return the index of the last point of a line at or before a place; -1 if there is none. */
export function lastAt(line, place) {
  const at = firstFrom(line.x, place);
  return line.x[at] === place ? at : at - 1;
}

/** Return the lowest and highest value to show between two places, with a margin.
 *
 * A mark joins once it is within one span of the lines: a distant one would flatten them.
 */
export function range(spec, lines, from, to) {
  let low = Infinity;
  let high = -Infinity;
  const take = (value) => {
    low = Math.min(low, value);
    high = Math.max(high, value);
  };
  for (const line of lines) {
    for (let at = firstFrom(line.x, from); at < line.x.length && line.x[at] <= to; at++) {
      if (line.style !== "range") take(line.y[at]);
      if (line.low) [line.low[at], line.high[at]].forEach(take);
    }
  }
  for (const band of spec.bands) [band.low, band.high].forEach(take);
  if (low > high) [low, high] = [0, 1];
  const span = Math.max(high - low, 1e-9);
  const near = spec.marks.filter(({ value }) => value >= low - span && value <= high + span);
  for (const { value } of near) take(value);
  const pad = high - low < 1e-9 ? Math.abs(low) * 0.1 || 0.5 : (high - low) * 0.06;
  return [spec.low ?? low - pad, Math.max(spec.high ?? high + pad, (spec.low ?? -Infinity) + 1e-9)];
}

/** Return runs of indexes without a gap: with `columns`, one between two points interrupts the line. */
export function unbroken(xs, columns) {
  if (!columns.length) return [xs.map((_, at) => at)];
  const runs = [];
  xs.forEach((x, at) => {
    const isNext = at > 0 && firstFrom(columns, x) - firstFrom(columns, xs[at - 1]) <= 1;
    if (isNext) runs.at(-1).push(at);
    else runs.push([at]);
  });
  return runs;
}

/** Return the rows of a CSV file; quotes around a cell are doubled inside it. */
export function parseCsv(text) {
  const rows = [];
  let row = [];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === ",") continue;
    if (row.length > 1 || row[0]) rows.push(row);
    row = [];
  }
  return rows;
}

/** Return the lines of a chart with all points of its file in the place of the thinned-out ones. */
export function wholeLines(lines, text) {
  const byTitle = new Map();
  for (const [run, name, x, y, low, high] of parseCsv(text).slice(1)) {
    const title = `${run}\n${name}`;
    if (!byTitle.has(title)) byTitle.set(title, []);
    byTitle.get(title).push([Number(x), Number(y), low, high]);
  }
  return lines.map((line) => {
    const points = byTitle.get(`${line.run}\n${line.name}`);
    if (!points) return line;
    const all = { ...line, x: points.map((one) => one[0]), y: points.map((one) => one[1]) };
    if (!line.low) return all;
    all.low = points.map((one) => (one[2] === "" ? one[1] : Number(one[2])));
    all.high = points.map((one) => (one[3] === "" ? one[1] : Number(one[3])));
    return all;
  });
}

/** Return whole lines continued by the points of newer ones. */
export function continued(whole, newer) {
  return newer.map((line) => {
    const old = whole.find((one) => one.run === line.run && one.name === line.name);
    if (!old) return line;
    const from = firstFrom(line.x, old.x.at(-1) + 1e-9);
    const joined = { ...line };
    for (const part of ["x", "y", "low", "high"]) {
      if (line[part]) joined[part] = [...old[part], ...line[part].slice(from)];
    }
    return joined;
  });
}
