// The work in hand: what is leased, what is on its way to the server, and what comes next. A judgment goes
// into the outbox first, which outlives the page, and leaves it when the server has acknowledged it; the page moves
// on at once. Sending again is safe, because each carries a key of its own. Where the queue is deep enough, more
// comparisons are fetched while there is time, so that a connection may fail for a while; they are given back when the
// page is left, so that they do not wait here.

const AHEAD = 2;
const FETCHED_AT_ONCE = 5;
const SENT_AT_ONCE = 3;
const HELD_NAMED = 60;
const LONGEST_WAIT_MS = 15_000;
const PLACE = /^(submissions|skips)\.\d+\./; // before what the server says of a part of one
const KEPT = "what you entered is kept until the comparison comes again";

export class Work {
  /**
   * @param api address of the project's API
   * @param send (url, options) => Promise of JSON, throwing an Error with .status
   * @param drafts where the outbox is kept
   * @param changed called whenever something to show has changed
   */
  constructor({ api, send, drafts, changed }) {
    Object.assign(this, { api, send, drafts, changed });
    this.current = null;
    this.ahead = [];
    this.queue = null;
    this.savedAt = null;
    this.failure = null; // { kind: "offline" | "rejected" | "signedOut", text }: of the last request
    this.refusals = []; // reasons, of what the server did not take since the last judgment
    this.sending = null;
    this.waitMs = 500;
    this.isOneByOne = false; // until the one that the server does not take is found
    this.judgedHere = 0;
    this.isShort = false; // the queue had less than was asked for
    this.feedback = null; // of practice: the comparison stays until the labeler goes on
  }

  get held() {
    return [this.current, ...this.ahead].filter(Boolean).map((one) => one.id);
  }

  /** How many comparisons the queue lets this labeler hold ahead. */
  get most() {
    return this.queue?.ahead ?? AHEAD;
  }

  /** Until when everything in hand is held, as a Date; null if nothing is. */
  get heldUntil() {
    const times = [this.current, ...this.ahead].filter(Boolean).map((one) => Date.parse(one.expires_at));
    return times.length ? new Date(Math.min(...times)) : null;
  }

  get waiting() {
    return this.drafts.outbox.length;
  }

  /** What is wrong, as { kind, text }; null if nothing is. */
  get trouble() {
    if (this.failure || !this.refusals.length) return this.failure;
    const count = this.refusals.length;
    const reasons = [...new Set(this.refusals)].join("; ");
    return { kind: "refused", text: `${count === 1 ? "Not saved" : `${count} judgments not saved`}: ${reasons}.` };
  }

  /** Take the assignment that the page came with, unless it is on its way already; fetch what is missing. */
  async open(assignment) {
    const sent = this.drafts.outbox.some((item) => item.assignment_id === assignment?.id);
    this.current = sent ? null : assignment;
    await this.exchange();
  }

  /** Put a judgment or a skip on its way and go on to the next comparison. */
  hand(item) {
    this.drafts.post(item);
    this.refusals = [];
    if (this.failure?.kind === "offline") queueMicrotask(() => this.#stillOffline());
    if (!this.current?.is_practice) this.current = this.ahead.shift() ?? null;
    this.changed();
    return this.exchange();
  }

  #stillOffline() {
    if (this.failure?.kind !== "offline") return;
    this.failure.text = this.#offlineText();
    this.changed();
  }

  /** Go on from what was right in practice. */
  goOn() {
    this.feedback = null;
    this.current = this.ahead.shift() ?? null;
    this.changed();
    return this.exchange();
  }

  /** True while the server looks at the practice comparison on screen. */
  get isLookedAt() {
    return Boolean(this.current?.is_practice) && this.drafts.outbox.some((item) => item.assignment_id === this.current.id);
  }

  /** Open the last judgment again, in front of what is in hand. */
  async undo(key) {
    await this.exchange();
    if (this.waiting) return false;
    const opened = await this.#ask("POST", `/assignments/undo?rendered=true`, { key });
    if (!opened) return false;
    this.ahead = [this.current, ...this.ahead].filter((one) => one && one.id !== opened.id);
    this.current = opened;
    this.judgedHere -= opened.previous ? 1 : 0;
    this.changed();
    return true;
  }

  /** Hand in what waits and fetch what is missing; one request at a time. */
  exchange() {
    this.sending ??= this.#exchange().finally(() => {
      this.sending = null;
    });
    return this.sending;
  }

  async #exchange() {
    do {
      const batch = this.drafts.outbox.slice(0, this.isOneByOne ? 1 : SENT_AT_ONCE);
      const wanted = this.#wanted();
      if (!batch.length && !wanted) return;
      const result = await this.#send(batch, wanted);
      if (!result) return;
      this.drafts.arrived(batch);
      this.isOneByOne &&= this.waiting > 0;
      this.#settle(batch, result);
      if (result.results.some((one) => one.refused)) await this.refresh(); // something has happened elsewhere
      this.isShort = result.assignments.length < wanted;
      this.changed();
    } while (this.waiting || (this.#wanted() && !this.isShort));
  }

  /** How many to fetch now: what is missing at once, and more before half of what may be held is used up. */
  #wanted() {
    const missing = AHEAD + 1 - this.held.length;
    if (missing > 0) return missing;
    const isLow = this.ahead.length <= this.most / 2 || this.isFilling;
    this.isFilling = isLow && !this.isShort && this.ahead.length < this.most;
    return this.isFilling ? Math.min(FETCHED_AT_ONCE, this.most - this.ahead.length) : 0;
  }

  /** Give back what is held ahead beyond the least: others may judge it now. */
  giveBack(keep = AHEAD) {
    const spare = this.ahead.slice(keep).filter((one) => !one.previous);
    if (!spare.length || this.current?.is_practice) return;
    const assignments = spare.map((one) => one.id);
    this.ahead = this.ahead.filter((one) => !spare.includes(one));
    this.send(`${this.api}/assignments/release`, { method: "POST", body: { assignments }, keepalive: true }).catch(() => {}); // the leases end by themselves
  }

  async #send(batch, wanted) {
    const held = [...new Set([...this.held, ...this.drafts.outbox.map((item) => item.assignment_id)])];
    try {
      const result = await this.#ask("POST", "/assignments/exchange", {
        submissions: batch.filter((item) => item.answer),
        skips: batch.filter((item) => !item.answer),
        held: held.slice(-HELD_NAMED),
        count: wanted,
        ahead: this.most,
        rendered: true,
      });
      this.waitMs = 500;
      this.failure = null;
      return result;
    } catch (error) {
      this.#onFailure(error, batch);
      return null;
    }
  }

  #settle(batch, answered) {
    const order = [...batch.filter((item) => item.answer), ...batch.filter((item) => !item.answer)];
    answered.results.forEach((result, at) => {
      if (!result.is_correctable) this.drafts.drop(order[at].assignment_id);
      const isShown = this.current?.is_practice && this.current.id === result.assignment_id;
      if (isShown && result.refused) this.current = this.ahead.shift() ?? null;
      else if (isShown) this.feedback = result.feedback;
      if (result.refused) this.refusals.push(result.is_correctable ? `${result.refused}; ${KEPT}` : result.refused);
      else if (order[at].answer) this.judgedHere += 1;
    });
    if (this.refusals.length) this.savedAt = null; // "Saved" beside a refusal would contradict it
    else if (answered.results.length) this.savedAt = new Date(answered.saved_at);
    const known = new Set([...this.held, ...this.drafts.outbox.map((item) => item.assignment_id)]);
    const fresh = answered.assignments.filter((one) => !known.has(one.id));
    this.ahead.push(...fresh);
    if (!this.current) this.current = this.ahead.shift() ?? null;
    if (answered.queue) {
      this.queue = answered.queue;
      this.judgedHere = 0;
    }
  }

  /** Set aside what the server will never take, so that it holds up nothing else; its draft stays. */
  #setAside(error, batch) {
    this.failure = null; // the server responds
    if (batch.length === 1) {
      this.drafts.arrived(batch);
      this.refusals.push(`${error.message.replace(PLACE, "")}; ${KEPT}`);
      this.savedAt = null;
    }
    this.isOneByOne = batch.length > 1;
    this.changed();
    setTimeout(() => this.exchange());
  }

  #onFailure(error, batch) {
    const isForGood = error.status === 413 || (error.status === 422 && PLACE.test(error.message));
    if (batch.length && isForGood) return this.#setAside(error, batch);
    if (error.status === 401 || error.status === 403) {
      this.failure = { kind: "signedOut", text: "You are signed out. What you judged is kept here and is sent once you have signed in and reloaded this page." };
    } else if (error.status >= 400 && error.status < 500 && batch.length) {
      this.failure = { kind: "rejected", text: `The server did not accept it: ${error.message}.` };
    } else {
      this.failure = { kind: "offline", text: this.#offlineText() };
    }
    this.changed();
    setTimeout(() => this.exchange(), this.waitMs);
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
  }

  #offlineText() {
    const said = ["The server does not respond. Everything is kept here and sent again automatically."];
    const ready = this.held.length;
    if (this.waiting) said.push(`${this.waiting} ${this.waiting === 1 ? "waits" : "wait"} to be sent.`);
    if (ready) said.push(`You can continue with ${ready === 1 ? "one comparison" : `${ready} comparisons`}, held for you until ${clock(this.heldUntil)}.`);
    return said.join(" ");
  }

  /** Ask what is left, counted from this browser's midnight. */
  async refresh() {
    const midnight = new Date();
    midnight.setHours(0, 0, 0, 0);
    try {
      this.queue = await this.#ask("GET", `/assignments/queue?since=${encodeURIComponent(midnight.toISOString())}`);
      this.judgedHere = 0;
      this.isShort = false;
      if (this.ahead.length > this.most) this.giveBack(this.most); // the queue is nearly empty, or others wait
      this.changed();
    } catch {
      // the counts stay as they were
    }
  }

  /** Keep the leases; returns false if the comparison on screen has gone to someone else. */
  async heartbeat() {
    try {
      const kept = await this.#ask("POST", "/assignments/heartbeat");
      for (const one of [this.current, ...this.ahead]) if (one && kept[one.id]) one.expires_at = kept[one.id];
      return !this.current || String(this.current.id) in kept;
    } catch {
      return true;
    }
  }

  #ask(method, path, body) {
    return this.send(this.api + path, { method, body });
  }
}

/** Return a time of day as the labeler's clock shows it. */
export function clock(moment) {
  return moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}
