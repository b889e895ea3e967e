// Scales of charts: pure functions between values, pixels and words. Nothing here touches the page.

/** Return a function that maps [from, to] to [start, end]. */
export function linear(from, to, start, end) {
  const factor = (end - start) / (to - from || 1);
  return (value) => start + (value - from) * factor;
}

/** Return round values between two bounds, at most about `most` of them; `least` is the smallest step. */
export function ticks(low, high, most, least = 0) {
  const rough = Math.max((high - low) / Math.max(most, 1), least, Number.MIN_VALUE);
  const power = 10 ** Math.floor(Math.log10(rough) + 1e-9);
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * (1 - 1e-9)) * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(last - first + 1, 0) }, (_, at) => (first + at) * step);
}

/** Return a tick's label, with as many digits as ticks of that spacing need. */
export function tickLabel(value, spacing) {
  if (value !== 0 && (Math.abs(value) >= 1e7 || spacing < 1e-5)) {
    return value.toExponential(Math.min(Math.max(Math.ceil(Math.log10(Math.abs(value) / spacing) - 1e-9), 0), 20));
  }
  const digits = spacing >= 1 ? 0 : Math.ceil(-Math.log10(spacing) - 1e-9);
  return number(value, digits);
}

/** Return a number in words of the page: grouped, with a fixed number of digits. */
export function number(value, digits) {
  const shown = value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return /^-[0.,]+$/.test(shown) ? shown.slice(1) : shown.replace("-", "−");
}

/** Return the index of the value nearest to `x` in an ascending list; the earlier of two as near. */
export function nearest(places, x) {
  const after = firstFrom(places, x);
  if (after === 0) return 0;
  if (after === places.length) return places.length - 1;
  return x - places[after - 1] <= places[after] - x ? after - 1 : after;
}

/** Return the index of the first value of an ascending list that is not below `x`. */
export function firstFrom(places, x) {
  let low = 0;
  let high = places.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Return the window that is `factor` times as wide around a place, inside the whole of [first, last]. */
export function zoomed({ from, to }, around, factor, [first, last]) {
  const width = Math.min((to - from) * factor, last - first);
  const share = (around - from) / (to - from || 1);
  const start = Math.min(Math.max(around - share * width, first), last - width);
  return { from: start, to: start + width };
}

/** Return the window moved so far that it contains a place. */
export function panned({ from, to }, place) {
  const shift = place < from ? place - from : place > to ? place - to : 0;
  return { from: from + shift, to: to + shift };
}
