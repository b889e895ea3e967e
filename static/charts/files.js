// Charts as files: an SVG that stands alone, and a PNG of it. Colors are those of the page at that moment.

import { draw, shape, title } from "./drawing.js";

const SIZE = { width: 960, height: 480, head: 64, scale: 2 };
const STYLES = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "paint-order",
  "font-family", "font-size", "font-weight",
];

/** Return the text of an SVG file with the chart as it is shown: its window, smoothing and lines. */
export function svgText(article, spec, view, heading) {
  const place = document.createElement("div");
  place.className = "chart-copy";
  place.setAttribute("aria-hidden", "true");
  const chart = shape("svg", { y: SIZE.head });
  const whole = shape("svg", { class: "chart-file" }, chart);
  place.append(whole);
  article.append(place); // computed styles need a place in the page
  try {
    draw(chart, spec, view, SIZE.width, SIZE.height - SIZE.head);
    whole.setAttribute("viewBox", `-12 0 ${SIZE.width + 24} ${SIZE.height + 12}`);
    whole.setAttribute("width", SIZE.width + 24);
    whole.setAttribute("height", SIZE.height + 12);
    const ground = shape("rect", { class: "chart-ground", x: -12, y: 0, width: SIZE.width + 24, height: SIZE.height + 12 });
    whole.prepend(ground, shape("text", { class: "chart-heading", x: 0, y: 24 }, heading), ...legend(spec, view));
    const elements = [...whole.querySelectorAll("*")];
    const styles = elements.map(stylesOf); // all before the first class is gone
    elements.forEach((element, at) => fix(element, styles[at]));
    whole.removeAttribute("class");
    return new XMLSerializer().serializeToString(whole);
  } finally {
    place.remove();
  }
}

/** Return a PNG of an SVG file, at twice its size. */
export async function png(text) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth * SIZE.scale;
  canvas.height = image.naturalHeight * SIZE.scale;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the picture is too large"))), "image/png");
  });
}

/** Let the browser save a file. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function legend(spec, view) {
  let x = 0;
  return spec.lines.filter((line) => !view.hidden.has(title(line))).map((line) => {
    const name = title(line);
    const sample = shape("path", { class: `chart-line c${line.color}${line.dashed ? " dashed" : ""}`, d: `M${x} 45H${x + 22}` });
    const group = shape("g", {}, sample, shape("text", { x: x + 28, y: 49 }, name));
    x += 48 + name.length * 6.3;
    return group;
  });
}

function stylesOf(element) {
  const style = getComputedStyle(element);
  return STYLES.map((name) => [name, style.getPropertyValue(name)]);
}

function fix(element, styles) {
  for (const [name, value] of styles) {
    if (value && value !== "none" && value !== "normal") element.setAttribute(name, value);
    else if (name === "fill" || name === "stroke") element.setAttribute(name, "none");
  }
  element.removeAttribute("class");
}
