// Faults of the scales of charts, as sentences; none if all is right.
async () => {
  const { ticks, tickLabel, nearest, zoomed, panned, number } = await import("/static/charts/scale.js");
  const faults = [];
  const same = (found, wanted, what) => JSON.stringify(found) === JSON.stringify(wanted) ||
    faults.push(`${what}: ${JSON.stringify(found)}`);
  for (let at = 0; at < 2000; at++) {
    const [low, high] = [Math.sin(at) * 10 ** (at % 9 - 4), Math.cos(at * 7) * 10 ** (at % 7 - 3)].sort((a, b) => a - b);
    const found = ticks(low, high, 5);
    const isInside = found.every((one) => one >= low - 1e-9 * Math.abs(low) && one <= high + 1e-9 * Math.abs(high));
    if (found.length > 6 || found.length < 1 && high - low > 1e-9 || !isInside) faults.push(`ticks ${low} ${high}: ${found}`);
    const labels = found.map((one) => tickLabel(one, found[1] - found[0]));
    if (new Set(labels).size !== labels.length) faults.push(`labels ${labels}`);
  }
  same(ticks(1, 6, 20, 1), [1, 2, 3, 4, 5, 6], "whole steps only");
  same([-1, 1, 2.4, 2.5, 2.6, 9].map((x) => nearest([1, 2, 3, 7], x)), [0, 0, 1, 1, 2, 3], "nearest");
  same(zoomed({ from: 0, to: 100 }, 80, 0.5, [0, 100]), { from: 40, to: 90 }, "zoom around a place");
  same(zoomed({ from: 40, to: 90 }, 80, 4, [0, 100]), { from: 0, to: 100 }, "no wider than the whole");
  same(panned({ from: 10, to: 20 }, 23), { from: 13, to: 23 }, "pan");
  same([number(-0.001, 2), number(-1234.5, 1)], ["0.00", "−1,234.5"], "number");
  return faults;
}
