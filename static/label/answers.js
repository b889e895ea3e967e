// What is being answered, as plain values: every function takes a state and returns the next one.
// A pick is { kind, preferred, strength, bothBad }; a ranking is { kind, order, ties, ranked, cannot, touched },
// where `order` holds canonical positions as they stand on screen, the first `ranked` of which have a rank, and
// `ties` those tied with the one above.

export function empty(assignment) {
  if (assignment.kind === "rank") {
    const order = assignment.candidates.map((one) => one.position);
    return { kind: "rank", order, ties: [], ranked: 0, cannot: false, touched: false };
  }
  return { kind: "pick", preferred: null, strength: null, bothBad: false };
}

/** Return the state that an earlier answer left. */
export function restore(assignment, answer) {
  const state = empty(assignment);
  if (!answer || answer.kind !== state.kind) return state;
  if (answer.kind === "pick") {
    return { ...state, preferred: answer.preferred, strength: answer.strength, bothBad: answer.both_bad };
  }
  if (!answer.ranking) return { ...state, cannot: answer.both_bad, touched: true };
  const order = [...state.order].sort((a, b) => answer.ranking[a] - answer.ranking[b]);
  const ties = order.filter((position, at) => at > 0 && answer.ranking[order[at - 1]] === answer.ranking[position]);
  return { ...state, order, ties, ranked: order.length, touched: true };
}

/** Return the answer as the API takes it. */
export function toAnswer(state) {
  if (state.kind === "pick") {
    return { kind: "pick", preferred: state.preferred, strength: state.strength, both_bad: state.bothBad };
  }
  return { kind: "rank", ranking: state.cannot ? null : rankOf(state), both_bad: state.cannot };
}

export function isEmpty(state) {
  return state.kind === "pick"
    ? state.preferred === null && !state.bothBad
    : !state.touched && !state.cannot && state.ranked === 0;
}

/** Return null when it can be submitted, else what is missing. */
export function missing(state) {
  if (state.kind === "pick") {
    return state.preferred === null && !state.bothBad ? "Choose an answer first." : null;
  }
  const left = state.order.length - state.ranked;
  if (state.cannot || left === 0 || state.ranked === 0) return null;
  return left === 1 ? "One answer has no rank yet." : `${left} answers have no rank yet.`;
}

// --- picks ---------------------------------------------------------------------------------------

/** Return the scale from the left answer's strongest to the right one's. */
export function scale(assignment) {
  const [left, right] = assignment.candidates.map((one) => "ab"[one.position]);
  const steps = assignment.strengths;
  const side = (preferred) => (steps.length ? steps.map((strength) => ({ preferred, strength })) : [{ preferred, strength: null }]);
  const middle = assignment.allow_tie ? [{ preferred: "tie", strength: null }] : [];
  return [...side(left).reverse(), ...middle, ...side(right)];
}

export function prefer(state, preferred, strength = null) {
  return { ...state, preferred, strength: preferred === "tie" ? null : strength };
}

/** Move along the scale; the first move takes the step next to the middle. */
export function nudge(state, assignment, by) {
  const steps = scale(assignment);
  const sides = assignment.candidates.map((one) => "ab"[one.position]);
  let at = steps.findIndex((step) => step.preferred === state.preferred && step.strength === state.strength);
  if (at < 0) {
    const side = state.preferred ?? sides[by < 0 ? 0 : 1];
    const own = steps.filter((step) => step.preferred === side);
    const next = side === sides[0] ? own.at(-1) : own[0];
    return next ? { ...state, ...next } : state;
  }
  at = Math.min(Math.max(at + by, 0), steps.length - 1);
  return { ...state, ...steps[at] };
}

// --- rankings ------------------------------------------------------------------------------------

/** Return the competition rank of each canonical position. */
export function rankOf(state) {
  const ranks = [];
  let rank = 1;
  state.order.forEach((position, at) => {
    if (!(at > 0 && state.ties.includes(position))) rank = at + 1;
    ranks[position] = rank;
  });
  return ranks;
}

/** Give an answer the next rank, or take its rank away if it has one; the last one left ranks itself. */
export function rankNext(state, position) {
  const at = state.order.indexOf(position);
  const order = state.order.filter((one) => one !== position);
  const ties = state.ties.filter((one) => one !== position);
  const last = state.order.length - 1;
  if (at === last && at < state.ranked) return state; // it ranked itself; naming it says the same
  if (at < state.ranked) {
    const ranked = state.ranked - 1;
    order.push(position);
    return { ...state, order, ties: untieFirst(order, ties), ranked, cannot: false, touched: true };
  }
  order.splice(state.ranked, 0, position);
  let ranked = state.ranked + 1;
  if (ranked === last) ranked = order.length;
  return { ...state, order, ties: untieFirst(order, ties), ranked, cannot: false, touched: true };
}

/** Put an answer at a place, counted from 0; this ranks all of them as they stand. */
export function moveTo(state, position, place) {
  const order = state.order.filter((one) => one !== position);
  const to = Math.min(Math.max(place, 0), order.length);
  const from = state.order.indexOf(position);
  let ties = state.ties.filter((one) => one !== position);
  const below = state.order[from + 1];
  if (state.ties.includes(below) && !state.ties.includes(position)) ties = ties.filter((one) => one !== below);
  if (ties.includes(order[to])) ties = [...ties, position]; // dropped into a tie, it joins it
  order.splice(to, 0, position);
  return { ...state, order, ties: untieFirst(order, ties), ranked: order.length, cannot: false, touched: true };
}

/** Tie an answer with the one above, or part them. */
export function tie(state, position) {
  const at = state.order.indexOf(position);
  if (at <= 0) return state;
  const ties = state.ties.includes(position) ? state.ties.filter((one) => one !== position) : [...state.ties, position];
  return { ...state, ties, ranked: Math.max(state.ranked, at + 1), cannot: false, touched: true };
}

/** Put an answer at the rank chosen from its list, tied with nobody. */
export function setRank(state, position, rank) {
  const moved = moveTo(state, position, rank - 1);
  const below = moved.order[rank];
  return { ...moved, ties: moved.ties.filter((one) => one !== position && one !== below) };
}

function untieFirst(order, ties) {
  return ties.filter((position) => position !== order[0]);
}
