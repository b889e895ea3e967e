// The work in hand: what is leased, what is on its way to the server, and what comes next. A judgment goes
// into the outbox first, which outlives the page, and leaves it when the server has acknowledged it; the page moves
// on at once. Sending again is safe, because each carries a key of its own.

const AHEAD = 2;
const LONGEST_WAIT_MS = 15_000;

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
    this.trouble = null; // { kind: "offline" | "refused" | "signedOut", text }
    this.sending = null;
    this.waitMs = 500;
    this.judgedHere = 0;
    this.feedback = null; // of practice: the comparison stays until the labeler goes on
  }

  get held() {
    return [this.current, ...this.ahead].filter(Boolean).map((one) => one.id);
  }

  get waiting() {
    return this.drafts.outbox.length;
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
    if (!this.current?.is_practice) this.current = this.ahead.shift() ?? null;
    this.changed();
    return this.exchange();
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
      const batch = this.drafts.outbox.slice(0, AHEAD + 1);
      const wanted = Math.max(AHEAD + 1 - this.held.length, 0);
      if (!batch.length && !wanted) return;
      const result = await this.#send(batch, wanted);
      if (!result) return;
      this.drafts.arrived(batch);
      this.#settle(batch, result);
      this.changed();
      if (!this.waiting && result.assignments.length < wanted) return;
    } while (this.waiting || this.held.length <= AHEAD);
  }

  async #send(batch, wanted) {
    const held = [...this.held, ...batch.map((item) => item.assignment_id)];
    try {
      const result = await this.#ask("POST", "/assignments/exchange", {
        submissions: batch.filter((item) => item.answer),
        skips: batch.filter((item) => !item.answer),
        held: held.slice(-20),
        count: Math.min(wanted, AHEAD + 1),
        rendered: true,
      });
      this.waitMs = 500;
      this.trouble = null;
      return result;
    } catch (error) {
      this.#onFailure(error, batch);
      return null;
    }
  }

  #settle(batch, answered) {
    const order = [...batch.filter((item) => item.answer), ...batch.filter((item) => !item.answer)];
    answered.results.forEach((result, at) => {
      this.drafts.drop(order[at].assignment_id);
      const isShown = this.current?.is_practice && this.current.id === result.assignment_id;
      if (isShown && result.refused) this.current = this.ahead.shift() ?? null;
      else if (isShown) this.feedback = result.feedback;
      if (result.refused) this.trouble = { kind: "refused", text: `Not saved: ${result.refused}.` };
      else if (order[at].answer) this.judgedHere += 1;
    });
    if (batch.length) this.savedAt = new Date(answered.saved_at);
    const known = new Set(this.held);
    const fresh = answered.assignments.filter((one) => !known.has(one.id));
    this.ahead.push(...fresh);
    if (!this.current) this.current = this.ahead.shift() ?? null;
    if (answered.queue) {
      this.queue = answered.queue;
      this.judgedHere = 0;
    }
  }

  #onFailure(error, batch) {
    if (error.status === 401 || error.status === 403) {
      this.trouble = { kind: "signedOut", text: "You are signed out. What you judged is kept here and is sent once you have signed in and reloaded this page." };
    } else if (error.status >= 400 && error.status < 500 && batch.length) {
      this.trouble = { kind: "refused", text: `The server did not take it: ${error.message}.` };
    } else {
      this.trouble = { kind: "offline", text: "The server does not respond. Everything is kept here and sent again automatically." };
    }
    this.changed();
    setTimeout(() => this.exchange(), this.waitMs);
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
  }

  /** Ask what is left, counted from this browser's midnight. */
  async refresh() {
    const midnight = new Date();
    midnight.setHours(0, 0, 0, 0);
    try {
      this.queue = await this.#ask("GET", `/assignments/queue?since=${encodeURIComponent(midnight.toISOString())}`);
      this.judgedHere = 0;
      this.changed();
    } catch {
      // the counts stay as they were
    }
  }

  /** Keep the leases; returns false if the comparison on screen has gone to someone else. */
  async heartbeat() {
    try {
      const kept = await this.#ask("POST", "/assignments/heartbeat");
      return !this.current || String(this.current.id) in kept;
    } catch {
      return true;
    }
  }

  #ask(method, path, body) {
    return this.send(this.api + path, { method, body });
  }
}
