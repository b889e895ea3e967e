// The desk: the comparison on screen, the judgment in hand, how it is viewed, and for how long.
// Every change is kept as a draft at once.

import { KINDS } from "./kinds.js";

const NOTICE_MS = 3000;

export class Desk {
  /**
   * @param config what the page came with
   * @param drafts where drafts and views are kept
   * @param screen { draw(), frame(), say(text) }: draw everything, or only what surrounds the comparison
   */
  constructor({ config, drafts, screen }) {
    Object.assign(this, { config, drafts, screen });
    this.assignment = null;
    this.answer = null;
    this.view = null;
    this.isKept = false;
    this.activeMs = 0;
    this.notice = "";
    this.settings = { two: true, many: false, raw: false, full: false, ...drafts.settings };
  }

  get kind() {
    return KINDS[this.assignment.kind];
  }

  /** True while there is no judgment and no remark, so that there is nothing to keep. */
  get isAsFound() {
    return JSON.stringify(this.#content()) === this.found;
  }

  /** Put a comparison on the desk, with its draft or with the judgment that an undo reopened. */
  begin(assignment) {
    this.assignment = assignment;
    this.notice = "";
    this.asked = false;
    if (!assignment) {
      this.answer = this.view = null;
      return;
    }
    const before = assignment.previous;
    this.answer = before ? this.kind.restore(assignment, before.answer) : this.kind.empty(assignment);
    this.view = {
      columns: this.settings[this.#several],
      raw: this.settings.raw,
      full: this.settings.full,
      difference: false,
      focus: this.kind.firstFocus,
      flags: before?.flags ?? [],
      comment: before?.comment ?? "",
      commenting: false,
    };
    this.found = JSON.stringify(this.#content());
    this.#takeDraft();
  }

  change(next) {
    if (next === this.answer) return;
    this.answer = next;
    this.keep();
  }

  /** Keep the draft and draw everything. */
  keep() {
    this.#write();
    this.screen.draw();
  }

  /** Keep the draft while its text is being typed: only what surrounds it is drawn. */
  kept() {
    this.#write();
    this.screen.frame();
  }

  /** Keep the draft as the page goes away. */
  leave() {
    if (this.assignment && this.isKept) this.#write();
  }

  toggle(name) {
    this.view[name] = !this.view[name];
    if (name === "columns") this.settings[this.#several] = this.view.columns;
    else if (name in this.settings) this.settings[name] = this.view[name];
    this.drafts.settings = { two: this.settings.two, many: this.settings.many };
    this.screen.draw();
  }

  /** Move the focus of the keys to a response, a place in the order or a rating. */
  focusOn(place) {
    this.view.focus = Math.min(Math.max(place, 0), this.kind.places(this.assignment) - 1);
    this.screen.draw();
    this.show();
  }

  /** Bring what has the focus of the keys into view. */
  show() {
    document.querySelector(`#work [data-place="${this.view.focus}"]`)?.scrollIntoView({ block: "nearest" });
  }

  draw() {
    this.screen.draw();
  }

  say(text) {
    this.screen.say(text);
  }

  /** Say something for a short while where the state of saving stands. */
  flash(text) {
    this.notice = text;
    this.say(text);
    this.screen.frame();
    clearTimeout(this.noticed);
    this.noticed = setTimeout(() => {
      this.notice = "";
      this.screen.frame();
    }, NOTICE_MS);
  }

  get #several() {
    return this.assignment.candidates.length === 2 ? "two" : "many";
  }

  #content() {
    return { answer: this.answer, flags: this.view.flags, comment: this.view.comment };
  }

  #write() {
    this.isKept = this.drafts.write(this.assignment.id, { ...this.#content(), activeMs: this.activeMs });
  }

  #takeDraft() {
    const draft = this.drafts.read(this.assignment.id);
    this.isKept = Boolean(draft);
    this.activeMs = draft?.activeMs ?? 0;
    if (draft?.answer?.kind !== this.assignment.kind) return;
    this.answer = this.kind.mend?.(this.assignment, draft.answer) ?? draft.answer;
    this.view.flags = draft.flags;
    this.view.comment = draft.comment;
  }
}
