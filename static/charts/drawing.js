// Draws a chart into an svg element. Colors, widths and fonts are the style sheet's; sizes are in pixels.

import { linear, number, tickLabel, ticks } from "./scale.js";
import { ema, range, unbroken, visible } from "./series.js";

const SVG = "http://www.w3.org/2000/svg";
const CHARACTER = 6.3; // the mean width of one in a label
const APART = 7; // between the points that two lines have at the same place
const LABEL = 13; // the height of a line of text

/** Make an SVG element. */
export function shape(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) element.setAttribute(key, typeof value === "number" ? round(value) : value);
  }
  element.append(...children);
  return element;
}

/** Draw a chart between two places; return where its frame is, and its scales. */
export function draw(svg, spec, view, width, height) {
  const lines = spec.lines.filter((line) => !view.hidden.has(title(line)));
  const [low, high] = range(spec, lines, view.from, view.to);
  const count = Math.max(Math.floor(height / 45), 2);
  const values = ticks(low, high, count);
  const spacing = values.length > 1 ? values[1] - values[0] : high - low;
  const labels = values.map((value) => tickLabel(value, spacing));
  const frame = {
    left: Math.max(...labels.map((label) => label.length), 2) * CHARACTER + 8,
    right: width - 10,
    top: spec.events.length ? 36 : 22,
    bottom: height - 34,
  };
  const x = linear(view.from, view.to, ...inset(spec, lines, frame));
  const y = linear(low, high, frame.bottom, frame.top);
  const space = { frame, x, y, view, low, high };
  const plot = shape("svg", {
    x: frame.left, y: frame.top - 6, width: frame.right - frame.left, height: frame.bottom - frame.top + 12,
    viewBox: [frame.left, frame.top - 6, frame.right - frame.left, frame.bottom - frame.top + 12].map(round).join(" "),
  });
  plot.append(
    ...spec.bands.map((band) => bandOf(band, space)),
    ...lines.filter((line) => line.style === "range").flatMap((line) => boxes(line, spec, space)),
    ...spec.marks.filter((mark) => mark.value >= low && mark.value <= high).map((mark) => levelOf(mark, space)),
    ...spec.events.map((event) => eventOf(event, space)),
    ...lines.flatMap((line, at) => lineOf(line, at, lines.length, spec, space)),
    ...names(spec, space),
  );
  svg.setAttribute("viewBox", `0 0 ${round(width)} ${round(height)}`);
  svg.setAttribute("width", round(width));
  svg.setAttribute("height", round(height));
  const shown = spec.events.filter((event) => event.x >= view.from && event.x <= view.to);
  svg.replaceChildren(
    ...values.map((value) => shape("path", { class: "chart-grid", d: `M${round(frame.left)} ${round(y(value))}H${frame.right}` })),
    ...values.map((value, at) => text(frame.left - 6, y(value) + 4, labels[at], "end")),
    text(0, 11, spec.y, "start", "chart-axis"),
    text(frame.right, height - 3, spec.x, "end", "chart-axis"),
    ...placesOf(spec, space),
    plot,
    ...signs(shown, space),
    shape("g", { class: "chart-cross" }),
  );
  return space;
}

/** Draw the crosshair at a place, or remove it. */
export function cross(svg, spec, { frame, x, y, view, low, high }, place) {
  const group = svg.querySelector(".chart-cross");
  if (place === null || place < view.from || place > view.to) return group.replaceChildren();
  const left = x(place);
  const dots = spec.lines.filter((line) => line.style === "line" && !view.hidden.has(title(line))).flatMap((line) => {
    const at = line.x.indexOf(place);
    if (at < 0) return [];
    const value = smoothed(line, view.smoothing)[at];
    if (value < low || value > high) return [];
    return [shape("circle", { class: `chart-at-dot c${line.color}`, cx: left, cy: y(value), r: 4 })];
  });
  return group.replaceChildren(
    shape("path", { class: "chart-cross-line", d: `M${round(left)} ${frame.top - 6}V${round(frame.bottom)}` }),
    ...dots,
  );
}

/** Return a line's name, with its run where there are several. */
export function title(line) {
  return line.run ? `${line.run}, ${line.name}` : line.name;
}

/** Return the values of a line as they are drawn: smoothed, if that was chosen and it is a curve. */
export function smoothed(line, weight) {
  return weight && line.style === "line" ? ema(line.x, line.y, weight) : line.y;
}

function inset(spec, lines, frame) {
  const few = lines.some((line) => ["points", "range"].includes(line.style));
  const count = Math.max(spec.columns.length, ...lines.map((line) => line.x.length), 1);
  const margin = few ? Math.min((frame.right - frame.left) / (2 * count), 28) : 0;
  return [frame.left + margin, frame.right - margin];
}

function placesOf(spec, { frame, x, view }) {
  const digits = spec.placeDigits;
  const most = Math.max(Math.floor((frame.right - frame.left) / (digits ? 62 : 48)), 2);
  const few = spec.columns.length && !digits && spec.columns.length <= most;
  const values = few
    ? spec.columns.filter((place) => place >= view.from && place <= view.to)
    : ticks(view.from, view.to, most, digits ? 0 : 1);
  const spacing = values.length > 1 ? values[1] - values[0] : 1;
  const half = (label) => (label.length * CHARACTER) / 2;
  return values.map((value) => {
    const label = tickLabel(value, few ? 1 : spacing);
    const at = Math.min(Math.max(x(value), frame.left + half(label) - 4), frame.right - half(label) + 8);
    return text(at, frame.bottom + 15, label, "middle");
  });
}

function bandOf(band, { frame, y, low, high }) {
  const top = y(Math.min(band.high, high));
  const height = Math.max(y(Math.max(band.low, low)) - top, 1);
  return shape("rect", { class: "chart-band", x: frame.left, y: top, width: frame.right - frame.left, height });
}

function levelOf(mark, { frame, y }) {
  const name = mark.limit ? "chart-mark limit" : "chart-mark";
  return shape("path", { class: name, d: `M${round(frame.left)} ${round(y(mark.value))}H${round(frame.right)}` });
}

function eventOf(event, { frame, x }) {
  const name = event.alarm ? "chart-mark limit" : "chart-mark";
  return shape("path", { class: name, d: `M${round(x(event.x))} ${frame.top - 6}V${round(frame.bottom)}` });
}

// The names of bands and marks, on the right; on the left where the one above it leaves no room.
function names(spec, { frame, y, low, high }) {
  const all = [
    ...spec.bands.map((band) => ({ label: band.label, at: y(Math.min(band.high, high)) + LABEL })),
    ...spec.marks.map((mark) => ({ label: mark.label, value: mark.value, at: y(mark.value) - 4 })),
  ].filter(({ label, value = low }) => label && value >= low && value <= high);
  all.sort((one, other) => one.at - other.at);
  let last = -Infinity;
  return all.map(({ label, at }) => {
    const height = Math.min(Math.max(at, frame.top + 6), frame.bottom - 2);
    const isFree = height - last >= LABEL;
    if (isFree) last = height;
    return text(isFree ? frame.right - 4 : frame.left + 4, height, label, isFree ? "end" : "start", "chart-name");
  });
}

// The names of events above the frame, alarms first; the crosshair names one that would cover another.
function signs(events, { frame, x }) {
  const sorted = [...events].sort((one, other) => Number(other.alarm) - Number(one.alarm) || one.x - other.x);
  const taken = [];
  return sorted.flatMap((event) => {
    const half = ((event.label.length + (event.alarm ? 3 : 0)) * CHARACTER) / 2;
    const at = Math.min(Math.max(x(event.x), frame.left + half), frame.right - half);
    if (taken.some(([from, to]) => at + half > from && at - half < to)) return [];
    taken.push([at - half, at + half]);
    const group = shape("g", { class: event.alarm ? "chart-sign limit" : "chart-sign" });
    if (event.why) group.append(shape("title", {}, event.why));
    group.append(text(at, frame.top - 9, event.alarm ? `▲ ${event.label}` : event.label, "middle", "chart-name"));
    return [group];
  });
}

function lineOf(line, at, count, spec, space) {
  if (line.style === "range") return [];
  if (line.style === "steps") return steps(line, spec, space);
  if (line.style === "points") return dots(line, at, count, spec, space);
  return curve(line, space);
}

function curve(line, { frame, x, y, view }) {
  const pixels = Math.max(Math.round(frame.right - frame.left), 1);
  const name = `c${line.color}${line.dashed ? " dashed" : ""}`;
  const raw = visible(line.x, line.y, view.from, view.to, pixels);
  const shown = [];
  if (line.low) shown.push(shape("path", { class: `chart-area ${name}`, d: areaOf(line, raw, x, y) }));
  const isFew = raw.length < 3;
  if (view.smoothing && line.x.length > 1) {
    shown.push(shape("path", { class: `chart-line faint ${name}`, d: pathOf(line.x, line.y, raw, x, y) }));
    const values = smoothed(line, view.smoothing);
    const kept = visible(line.x, values, view.from, view.to, pixels);
    shown.push(shape("path", { class: `chart-line ${name}`, d: pathOf(line.x, values, kept, x, y) }));
  } else {
    shown.push(shape("path", { class: `chart-line ${name}`, d: pathOf(line.x, line.y, raw, x, y) }));
  }
  const circles = isFew ? raw.map((at) => shape("circle", { class: `chart-dot ${name}`, cx: x(line.x[at]), cy: y(line.y[at]), r: 3 })) : [];
  return [...shown, ...circles];
}

function dots(line, at, count, spec, { x, y }) {
  const shift = APART * (at - (count - 1) / 2);
  const place = (value) => x(value) + shift;
  const name = `c${line.color}${line.dashed ? " dashed" : ""}`;
  const runs = unbroken(line.x, spec.columns).filter((run) => run.length > 1);
  return [
    ...runs.map((run) => shape("path", { class: `chart-line ${name}`, d: pathOf(line.x, line.y, run, place, y) })),
    ...(line.low ?? []).map((low, i) =>
      shape("path", { class: `chart-interval ${name}`, d: `M${round(place(line.x[i]))} ${round(y(line.high[i]))}V${round(y(low))}` }),
    ),
    ...line.x.map((value, i) => {
      const dot = `chart-dot ${name}${line.thin?.[i] ? " thin" : ""}`;
      const [left, top] = [place(value), y(line.y[i])];
      return line.dashed
        ? shape("rect", { class: dot, x: left - 3.5, y: top - 3.5, width: 7, height: 7 })
        : shape("circle", { class: dot, cx: left, cy: top, r: 4 });
    }),
  ];
}

function boxes(line, spec, { x, y }) {
  const gap = line.x.length > 1 ? Math.abs(x(line.x[1]) - x(line.x[0])) : 40;
  const width = Math.min(gap * 0.7, 44);
  return line.x.map((place, at) =>
    shape("rect", {
      class: `chart-box c${line.color}`, x: x(place) - width / 2, y: y(line.high[at]), width,
      height: Math.max(y(line.low[at]) - y(line.high[at]), 1),
    }),
  );
}

function steps(line, spec, { x, y, low }) {
  const edge = (at) => spec.columns[at + 1] ?? spec.columns.at(-1) ?? line.x[at];
  const path = line.x.map((place, at) => `${at ? "L" : "M"}${round(x(place))} ${round(y(line.y[at]))}H${round(x(edge(at)))}`).join("");
  const closed = `${path}V${round(y(low))}H${round(x(line.x[0]))}Z`;
  const name = `c${line.color}`;
  return [shape("path", { class: `chart-area ${name}`, d: closed }), shape("path", { class: `chart-line ${name}`, d: path })];
}

function pathOf(xs, ys, indexes, x, y) {
  return indexes.map((at, i) => `${i ? "L" : "M"}${round(x(xs[at]))} ${round(y(ys[at]))}`).join("");
}

function areaOf(line, indexes, x, y) {
  const upper = pathOf(line.x, line.high, indexes, x, y);
  const lower = pathOf(line.x, line.low, [...indexes].reverse(), x, y).replace("M", "L");
  return `${upper}${lower}Z`;
}

function text(x, y, content, anchor, name) {
  return shape("text", { class: name, x, y, "text-anchor": anchor }, content);
}

function round(value) {
  return Math.round(value * 10) / 10;
}

/** Return a value of a chart in words, with its unit. */
export function inWords(spec, value) {
  return number(value, spec.digits) + (spec.unit ? ` ${spec.unit}` : "");
}
