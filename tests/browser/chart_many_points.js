// Draws two lines of ten thousand points: how many shapes, the longest path, and whether the one peak is drawn.
async () => {
  const { draw } = await import("/static/charts/drawing.js");
  const x = Array.from({ length: 10000 }, (_, at) => at + 1);
  const y = x.map((one) => (one === 4321 ? 9 : Math.sin(one)));
  const lines = [1, 2].map((color) => ({ run: "", name: `l${color}`, color, style: "line", x, y }));
  const spec = { x: "Step", y: "", lines, marks: [], bands: [], events: [], columns: [], low: null, high: null };
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const space = draw(svg, spec, { from: 1, to: 10000, smoothing: 0.9, hidden: new Set() }, 380, 208);
  const paths = [...svg.querySelectorAll(".chart-line.faint")].map((one) => one.getAttribute("d"));
  const heights = paths[0].match(/[\d.]+(?=L|$)/g).map(Number);
  return [svg.querySelectorAll("*").length, Math.max(...paths.map((one) => one.split("L").length)),
    Math.abs(Math.min(...heights) - space.y(9)) < 0.1];
}
