// Faults of the lines of charts as data, as sentences; none if all is right.
async () => {
  const { ema, visible, range, unbroken, parseCsv, wholeLines, continued, lastAt } =
    await import("/static/charts/series.js");
  const faults = [];
  const same = (found, wanted, what) => JSON.stringify(found) === JSON.stringify(wanted) ||
    faults.push(`${what}: ${JSON.stringify(found)}`);
  same(ema([1, 2, 3], [3, 1, 4], 0), [3, 1, 4], "weight 0");
  same(ema([1, 2, 9], [2, 2, 2], 0.9).map((one) => one.toFixed(9)), Array(3).fill("2.000000000"), "a constant");
  same(ema([1, 2], [1, 3], 0.5), [1, (0.5 * 0.5 * 1 + 0.5 * 3) / 0.75], "corrected for its start");
  same(ema([1, 3], [1, 3], 0.5), [1, (0.25 * 0.5 * 1 + 0.75 * 3) / 0.875], "two steps fade twice as much");
  const xs = Array.from({ length: 10000 }, (_, at) => at + 1);
  const ys = xs.map((x) => Math.sin(x * 12.9898) * 43758.5453 % 1);
  [ys[4321], ys[7777]] = [50, -50];
  const kept = visible(xs, ys, 1, 10000, 300);
  if (kept.length > 4 * 301) faults.push(`${kept.length} points for 300 pixels`);
  if (!kept.includes(4321) || !kept.includes(7777)) faults.push("a peak is lost");
  if (kept[0] !== 0 || kept.at(-1) !== 9999) faults.push("an end is lost");
  if (kept.some((one, at) => at && one <= kept[at - 1])) faults.push("not in order");
  same(visible(xs, ys, 10.5, 13.5, 300), [9, 10, 11, 12, 13], "a window, and a neighbor on each side");
  const spec = { bands: [], marks: [{ value: 100 }, { value: 1.5 }], low: null, high: null };
  const line = { style: "line", x: [0, 1], y: [0, 1] };
  const [low, high] = range(spec, [line], 0, 1);
  if (!(low < 0 && high > 1.5 && high < 2)) faults.push(`range ${low} ${high}`);
  same(range({ ...spec, marks: [], low: 0, high: 1 }, [line], 0, 1), [0, 1], "fixed ends");
  same(unbroken([1, 2, 5], [1, 2, 4, 5]), [[0, 1], [2]], "a gap where a round has no point");
  same(parseCsv('a,"b ""c"", d"\r\n1,\r\n'), [["a", 'b "c", d'], ["1", ""]], "CSV");
  const lines = [{ run: "", name: "a", x: [1, 3], y: [1, 3] }];
  const whole = wholeLines(lines, "run,line,step,value,low,high\r\n,a,1,1,,\r\n,a,2,5,,\r\n,a,3,3,,\r\n");
  same([whole[0].x, whole[0].y], [[1, 2, 3], [1, 5, 3]], "whole");
  const newer = continued(whole, [{ run: "", name: "a", x: [1, 3, 4], y: [1, 3, 9] }]);
  same([newer[0].x, newer[0].y], [[1, 2, 3, 4], [1, 5, 3, 9]], "continued");
  same([0, 1, 2.5, 9].map((x) => lastAt({ x: [1, 2, 3] }, x)), [-1, 0, 1, 2], "last at");
  return faults;
}
