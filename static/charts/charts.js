// Charts: every element with data-chart is drawn, again after each change of the page, and can be read by pointer and keys.
// What a person chose (window, smoothing, hidden lines) stays while a live page refreshes.

import { cross, draw, inWords, shape, smoothed, title } from "./drawing.js";
import { png, save, svgText } from "./files.js";
import { firstFrom, nearest, number, panned, zoomed } from "./scale.js";
import { continued, lastAt, places, SMOOTHINGS, wholeLines } from "./series.js";

const FEWEST_TO_ZOOM = 5;
const FEWEST_TO_SMOOTH = 10;
const FACTOR = 2;
const DRAG = 6; // pixels before a press becomes a selection
const states = new Map(); // what was chosen, by the chart's name
const mounted = new WeakMap();

class DrawnChart {
  constructor(article) {
    this.article = article;
    this.place = article.querySelector("[data-place]");
    this.build();
    this.adopt(article);
    new ResizeObserver(() => this.redraw()).observe(this.place);
  }

  /** Take the newest values from an element with data-chart: this one, or its successor in a refreshed page. */
  adopt(article) {
    this.spec = JSON.parse(article.dataset.chart);
    const name = `${this.spec.file}|${this.spec.key}`;
    this.state = states.get(name) ?? { smoothing: 0, hidden: new Set(), window: null, at: null, whole: null };
    states.set(name, this.state);
    if (this.state.whole) this.spec.lines = this.state.whole = continued(this.state.whole, this.spec.lines);
    this.index();
    this.fill();
    this.redraw();
  }

  index() {
    this.places = places(this.spec.lines, this.spec.events);
    const edges = this.spec.columns.length ? [this.spec.columns[0], this.spec.columns.at(-1)] : [];
    const first = Math.min(this.places[0], ...edges);
    const last = Math.max(this.places.at(-1), ...edges);
    this.whole = first === last ? [first - 0.5, last + 0.5] : [first, last];
  }

  get view() {
    const { smoothing, hidden, window } = this.state;
    return { from: window?.from ?? this.whole[0], to: window?.to ?? this.whole[1], smoothing, hidden };
  }

  build() {
    this.svg = shape("svg", { "aria-hidden": "true" });
    this.area = make("div", { class: "chart-plot", role: "slider", tabindex: "0" }, this.svg);
    this.legend = make("ul", { class: "chart-legend" });
    this.select = make("select", {}, ...SMOOTHINGS.map(({ weight, name }) => make("option", { value: String(weight) }, name)));
    this.smoothing = make("label", { class: "chart-smoothing" }, "Smoothing ", this.select);
    const button = (label, act) => {
      const made = make("button", { type: "button", class: "btn" }, label);
      made.addEventListener("click", act);
      return made;
    };
    this.zoomOut = button("−", () => this.zoom(FACTOR));
    this.zoomIn = button("+", () => this.zoom(1 / FACTOR));
    this.reset = button("Reset", () => this.setWindow(null));
    this.tools = make("div", { class: "chart-tools" }, this.smoothing, this.zoomOut, this.zoomIn, this.reset);
    this.problem = make("p", { class: "problem", role: "alert", hidden: "" });
    this.place.replaceChildren(this.tools, this.area, this.legend, this.problem);
    this.select.addEventListener("change", () => {
      this.state.smoothing = Number(this.select.value);
      this.redraw();
    });
    this.listen();
    for (const saver of this.article.querySelectorAll("[data-save]")) {
      saver.hidden = false;
      saver.addEventListener("click", () => this.saveAs(saver.dataset.save));
    }
  }

  listen() {
    const { area } = this;
    area.addEventListener("keydown", (event) => this.press(event));
    area.addEventListener("focus", () => this.move(this.state.at ?? this.lastPlace()));
    area.addEventListener("blur", () => this.move(null));
    area.addEventListener("dblclick", () => this.setWindow(null));
    area.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button === 0) this.dragged = { from: event.clientX, to: event.clientX };
    });
    area.addEventListener("pointermove", (event) => this.point(event));
    area.addEventListener("pointerup", () => this.release());
    area.addEventListener("pointercancel", () => this.release(true));
    area.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && !this.dragged && document.activeElement !== area) this.move(null);
    });
  }

  /** Set what depends on the data but not on the crosshair: names, and which tools there are. */
  fill() {
    const { spec, state } = this;
    this.area.setAttribute("aria-label", `${spec.title}: values by ${spec.x.toLowerCase()}`);
    for (const [tool, words] of [
      [this.select, "Smoothing"], [this.zoomOut, "Zoom out"], [this.zoomIn, "Zoom in"], [this.reset, "Reset the zoom"],
    ]) tool.setAttribute("aria-label", `${words}: ${spec.title}`);
    this.select.value = String(state.smoothing);
    const isLong = spec.lines.some((line) => line.style === "line" && line.x.length >= FEWEST_TO_SMOOTH);
    this.smoothing.hidden = !isLong;
    const canZoom = this.places.length >= FEWEST_TO_ZOOM;
    this.zoomIn.hidden = this.zoomOut.hidden = !canZoom;
    this.at = make("li", { class: "chart-place-name" });
    this.values = spec.lines.map((line) => {
      const value = make("b");
      const toggle = make("button", { type: "button", class: "chart-key", "aria-pressed": String(!state.hidden.has(title(line))) },
        make("span", { class: `chart-sample c${line.color}${line.dashed ? " dashed" : ""}${line.style === "range" ? " box" : ""}` }), title(line));
      toggle.disabled = spec.lines.length < 2;
      toggle.addEventListener("click", () => {
        if (!state.hidden.delete(title(line))) state.hidden.add(title(line));
        toggle.setAttribute("aria-pressed", String(!state.hidden.has(title(line))));
        this.redraw();
      });
      return { line, value, item: make("li", {}, toggle, value) };
    });
    this.why = make("li", { class: "chart-why" });
    this.legend.replaceChildren(this.at, ...this.values.map(({ item }) => item), this.why);
  }

  redraw() {
    const { clientWidth: width, clientHeight: height } = this.area;
    if (!width || !this.spec) return;
    this.space = draw(this.svg, this.spec, this.view, width, Math.max(height, 160));
    this.reset.hidden = !this.state.window;
    this.say();
  }

  lastPlace() {
    const { from, to } = this.view;
    const inside = this.places.filter((place) => place >= from && place <= to);
    return inside.at(-1) ?? this.places.at(-1);
  }

  /** Put the crosshair on a place; null removes it. */
  move(place) {
    this.state.at = place;
    if (place !== null && this.state.window && (place < this.view.from || place > this.view.to)) {
      this.setWindow(panned(this.view, place));
    } else this.say();
  }

  say() {
    const { spec, state } = this;
    if (!this.space) return;
    cross(this.svg, spec, this.space, state.at);
    const place = state.at ?? this.lastPlace();
    const name = `${spec.x} ${number(place, Number.isInteger(place) ? spec.placeDigits : Math.max(spec.placeDigits, 1))}`;
    this.at.textContent = name;
    const said = this.values.map(({ line, value }) => {
      value.textContent = this.valueAt(line, place);
      return state.hidden.has(title(line)) ? "" : `${title(line)} ${value.textContent}`;
    });
    const happened = state.at === null ? [] : spec.events.filter((event) => event.x === place);
    const why = happened.map((event) => `${event.label}${event.why ? `: ${event.why}` : ""}`).join("; ");
    this.why.textContent = why;
    this.why.hidden = !why;
    const { area } = this;
    area.setAttribute("aria-valuemin", String(this.places[0]));
    area.setAttribute("aria-valuemax", String(this.places.at(-1)));
    area.setAttribute("aria-valuenow", String(place));
    area.setAttribute("aria-valuetext", [name, ...said.filter(Boolean), why].filter(Boolean).join(", "));
  }

  /** Return a line's value at a place in words; of a line without a point there, the last one before. */
  valueAt(line, place) {
    const { spec, state } = this;
    const at = lastAt(line, place);
    const isColumn = line.style === "points" || line.style === "range";
    if (at < 0 || (isColumn && line.x[at] !== place)) return "–";
    if (line.style === "range") return `${number(line.low[at], spec.digits)} to ${inWords(spec, line.high[at])}`;
    let words = inWords(spec, line.y[at]);
    if (line.low) words += ` [${number(line.low[at], spec.digits)}, ${number(line.high[at], spec.digits)}]`;
    if (state.smoothing && line.style === "line") words += `, smoothed ${inWords(spec, smoothed(line, state.smoothing)[at])}`;
    if (line.thin?.[at]) words += ", not enough";
    if (line.style === "line" && line.x[at] !== place) words += ` at ${number(line.x[at], spec.placeDigits)}`;
    return words;
  }

  press(event) {
    const { from, to } = this.view;
    const at = nearest(this.places, this.state.at ?? this.lastPlace());
    const page = Math.max(Math.round((firstFrom(this.places, to) - firstFrom(this.places, from)) / 10), 1);
    const last = this.places.length - 1;
    const moves = {
      ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
      PageDown: at - page, PageUp: at + page, Home: 0, End: last,
    };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in moves) this.move(this.places[Math.min(Math.max(moves[event.key], 0), last)]);
    else if (event.key === "+" || event.key === "=") this.zoom(1 / FACTOR);
    else if (event.key === "-") this.zoom(FACTOR);
    else if (event.key === "0") this.setWindow(null);
    else return;
    event.preventDefault();
  }

  point(event) {
    const left = this.svg.getBoundingClientRect().left;
    const { x, frame } = this.space;
    if (this.dragged) {
      this.dragged.to = event.clientX;
      const [start, end] = this.selection(left, frame);
      if (end - start > DRAG) this.area.setPointerCapture(event.pointerId);
      this.svg.querySelector(".chart-cross").replaceChildren(
        shape("rect", { class: "chart-selection", x: start, y: frame.top, width: end - start, height: frame.bottom - frame.top }),
      );
      return;
    }
    this.move(this.places[nearest(this.places, this.placeAt(event.clientX - left, x))]);
  }

  placeAt(pixels, x) {
    const { from, to } = this.view;
    const share = (pixels - x(from)) / (x(to) - x(from));
    return Math.min(Math.max(from + share * (to - from), from), to);
  }

  selection(left, frame) {
    const ends = [this.dragged.from - left, this.dragged.to - left].map((end) => Math.min(Math.max(end, frame.left), frame.right));
    return ends.sort((one, other) => one - other);
  }

  release(isCancelled = false) {
    if (!this.dragged) return;
    const [start, end] = this.selection(this.svg.getBoundingClientRect().left, this.space.frame);
    this.dragged = null;
    if (isCancelled || end - start <= DRAG) return this.say();
    const { x } = this.space;
    this.setWindow({ from: this.placeAt(start, x), to: this.placeAt(end, x) });
  }

  zoom(factor) {
    const view = this.view;
    const around = this.state.at ?? (factor < 1 ? this.lastPlace() : (view.from + view.to) / 2);
    this.setWindow(zoomed(view, around, factor, this.whole));
  }

  setWindow(window) {
    const [first, last] = this.whole;
    const isAll = !window || window.to - window.from >= (last - first) * (1 - 1e-9);
    if (!isAll && firstFrom(this.places, window.to) - firstFrom(this.places, window.from) < 1) return this.say();
    const hadFocus = document.activeElement === this.reset;
    this.state.window = isAll ? null : window;
    this.redraw();
    if (hadFocus && this.reset.hidden) this.area.focus();
    if (this.state.window) this.load();
  }

  /** Fetch all points, once, where the page has only some of them. */
  async load() {
    if (!this.spec.whole || this.state.whole || this.isLoading) return;
    this.isLoading = true;
    this.problem.hidden = true;
    try {
      const response = await fetch(this.spec.whole, { headers: { Accept: "text/csv" } });
      if (!response.ok) throw new Error(`the server responded with status ${response.status}`);
      this.spec.lines = this.state.whole = wholeLines(this.spec.lines, await response.text());
      this.index();
      this.fill();
      this.redraw();
    } catch (error) {
      this.tell(`The points between could not be loaded (${error.message}). Zoom again to retry.`);
    } finally {
      this.isLoading = false;
    }
  }

  async saveAs(kind) {
    this.problem.hidden = true;
    try {
      const { weight, name } = SMOOTHINGS.find((one) => one.weight === this.state.smoothing);
      const heading = [this.spec.title, this.spec.file, ...(weight ? [`smoothed, ${name}`] : [])].join(" · ");
      const text = svgText(this.article, this.spec, this.view, heading);
      const blob = kind === "png" ? await png(text) : new Blob([text], { type: "image/svg+xml" });
      save(blob, `${this.spec.file}.${kind}`);
    } catch (error) {
      this.tell(`This browser could not draw the ${kind.toUpperCase()} (${error.message}). Download the ${kind === "png" ? "SVG" : "CSV"} instead.`);
    }
  }

  tell(words) {
    this.problem.textContent = words;
    this.problem.hidden = false;
  }
}

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function mountAll() {
  for (const article of document.querySelectorAll("[data-chart]")) {
    if (!mounted.has(article)) mounted.set(article, new DrawnChart(article));
  }
}

// A live page keeps what has the focus. If that is in a chart, the charts take their new values all the same.
document.addEventListener("kept", (event) => {
  const newer = new Map([...event.detail.querySelectorAll("[data-chart]")].map((one) => {
    const { file, key } = JSON.parse(one.dataset.chart);
    return [`${file}|${key}`, one];
  }));
  for (const article of event.target.querySelectorAll("[data-chart]")) {
    const chart = mounted.get(article);
    const next = chart && newer.get(`${chart.spec.file}|${chart.spec.key}`);
    if (next && !chart.dragged && !chart.legend.contains(document.activeElement)) chart.adopt(next);
  }
});

new MutationObserver(mountAll).observe(document.documentElement, { childList: true, subtree: true });
mountAll();
