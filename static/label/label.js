// The labeling page: wires keys, clicks and dialogs to the answer in hand, and the answer to the server.

import * as answers from "./answers.js";
import { ask, closers, isOpen } from "./dialogs.js";
import { Drafts } from "./drafts.js";
import { dragging } from "./drag.js";
import { meaning } from "./keys.js";
import { draw, drawFoot, drawKeys, drawNothing, statusOf } from "./view.js";
import { Work } from "./work.js";

// The very module that the page has loaded, whatever version its address carries.
const { send, setHtml } = await import(document.querySelector('script[src*="/base/base.js"]').src);

const HEARTBEAT_MS = 60_000;
const LOOK_AGAIN_MS = 15_000;
const IDLE_MS = 60_000;

const byId = (id) => document.getElementById(id);
const config = JSON.parse(byId("label").dataset.page);
const drafts = new Drafts(config.user, config.api);
const work = new Work({ api: config.api, send, drafts, changed: render });

let shown = null; // the assignment that `answer` belongs to
let answer = null;
let view = null;
let isKept = false;
let activeMs = 0;
let lastActive = Date.now();
let askedUntouched = false;
const settings = { columns: false, raw: false, full: false };

// --- what is on screen ---------------------------------------------------------------------------

function render() {
  const assignment = work.current;
  if (assignment !== shown) begin(assignment);
  byId("plain").hidden = true;
  byId("work").hidden = false;
  byId("foot").hidden = false;
  if (assignment) draw(byId("work"), { assignment, state: answer, view, config, setHtml, act });
  else drawNothing(byId("work"), work.queue, work.trouble?.kind === "offline", act);
  drawFoot(byId("foot"), { assignment, state: answer, status: statusOf({ work, isKept, state: answer }), act });
  drawKeys(byId("key-list"), assignment);
  const trouble = byId("trouble");
  trouble.hidden = !work.trouble;
  if (trouble.textContent !== (work.trouble?.text ?? "")) trouble.textContent = work.trouble?.text ?? "";
  counts();
}

function begin(assignment) {
  const isFirst = shown === null && answer === null;
  shown = assignment;
  askedUntouched = false;
  if (!assignment) {
    answer = view = null;
    return;
  }
  const draft = drafts.read(assignment.id);
  const before = assignment.previous;
  answer = draft?.answer?.kind === assignment.kind ? draft.answer : answers.restore(assignment, before?.answer);
  view = {
    ...settings,
    difference: false,
    focus: assignment.kind === "rank" ? 0 : -1,
    flags: draft?.flags ?? before?.flags ?? [],
    comment: draft?.comment ?? before?.comment ?? "",
    commenting: false,
  };
  activeMs = draft?.activeMs ?? 0;
  isKept = Boolean(draft);
  if (isFirst) return;
  queueMicrotask(() => {
    window.scrollTo(0, 0);
    byId("question")?.focus({ preventScroll: true });
  });
}

function counts() {
  const queue = work.queue ?? config.queue;
  const waiting = drafts.outbox.filter((item) => item.answer).length;
  byId("today").textContent = (queue.today + work.judgedHere + waiting).toLocaleString();
  const left = queue.open + queue.held - work.judgedHere - waiting;
  byId("left").textContent = Math.max(left, work.held.length).toLocaleString() + (queue.is_open_exact ? "" : "+");
}

function say(text) {
  byId("said").textContent = text;
}

function change(next) {
  if (next === answer) return;
  answer = next;
  keep();
}

function keep() {
  if (shown) isKept = drafts.write(shown.id, { answer, flags: view.flags, comment: view.comment, activeMs });
  render();
}

// --- what can be done ----------------------------------------------------------------------------

const focused = () => answer.order?.[view.focus];

const ACTIONS = {
  digit({ digit }) {
    if (shown.kind === "pick") return ACTIONS.choose({ digit });
    const position = shown.candidates[digit - 1].position;
    const next = answers.rankNext(answer, position);
    view.focus = next.order.indexOf(position);
    change(next);
    say(`Answer ${digit}: ${view.focus < next.ranked ? `rank ${answers.rankOf(next)[position]}` : "no rank"}.`);
  },
  choose({ digit }) {
    const letter = "ab"[shown.candidates[digit - 1].position];
    if (answer.preferred === letter) return;
    change(answers.prefer(answer, letter));
    say(`Answer ${digit} is better.`);
  },
  step: ({ preferred, strength }) => change(answers.prefer(answer, preferred, strength)),
  tie({ position } = {}) {
    if (shown.kind === "pick") {
      change(answers.prefer(answer, "tie"));
      say("About the same.");
      return;
    }
    const which = position ?? focused();
    change(answers.tie(answer, which));
    say(answer.ties.includes(which) ? "Tied with the one above." : "Not tied.");
  },
  bad() {
    change(shown.kind === "rank" ? { ...answer, cannot: !answer.cannot } : { ...answer, bothBad: !answer.bothBad });
    say(answer.cannot || answer.bothBad ? "Marked." : "Unmarked.");
  },
  weaker: () => change(answers.nudge(answer, shown, -1)),
  stronger: () => change(answers.nudge(answer, shown, 1)),
  next: () => focusOn(view.focus + 1),
  previous: () => focusOn(view.focus - 1),
  up: ({ position } = {}) => moveBy(position ?? focused(), -1),
  down: ({ position } = {}) => moveBy(position ?? focused(), 1),
  setRank({ position, rank }) {
    const next = answers.setRank(answer, position, rank);
    view.focus = next.order.indexOf(position);
    change(next);
  },
  commented({ text }) {
    view.comment = text;
    isKept = drafts.write(shown.id, { answer, flags: view.flags, comment: text, activeMs });
    drawFoot(byId("foot"), { assignment: shown, state: answer, status: statusOf({ work, isKept, state: answer }), act });
  },
  comment() {
    view.commenting = true;
    render();
    byId("comment").focus();
  },
  async flag() {
    const form = await ask("flag", (fields) => {
      for (const box of fields.elements.flags) box.checked = view.flags.includes(box.value);
    });
    if (!form) return;
    view.flags = form.getAll("flags");
    keep();
  },
  async skip() {
    const assignment = shown;
    const form = await ask("skip");
    if (!form || assignment !== work.current) return;
    work.hand({ assignment_id: assignment.id, lease_token: assignment.lease_token, key: newKey(), reason: form.get("reason"), comment: form.get("comment") });
    say("Skipped. Next comparison.");
  },
  async submit() {
    const reason = answers.missing(answer);
    if (reason) return say(reason), flash(reason);
    if (answer.kind === "rank" && !answer.touched && !answer.cannot && !askedUntouched) {
      const assignment = shown;
      const form = await ask("untouched");
      if (!form || assignment !== work.current) return;
      askedUntouched = true;
    }
    work.hand({
      assignment_id: shown.id,
      lease_token: shown.lease_token,
      key: newKey(),
      answer: answers.toAnswer(answer),
      flags: view.flags,
      comment: view.comment,
      active_ms: Math.round(activeMs),
    });
    say("Next comparison.");
  },
  async undo() {
    try {
      const opened = await work.undo(newKey());
      say(opened ? "The last one is open again." : "There is nothing to undo.");
      if (!opened) flash(work.waiting ? "Undo works once everything is saved." : "There is nothing to undo.");
    } catch (error) {
      flash(error.message);
    }
  },
  guidelines() {
    byId("guidelines").showModal();
    byId("guidelines").querySelector(".drawer-body").focus();
    byId("guidelines-news")?.remove();
    const form = new URLSearchParams({ version: String(config.guidelines) });
    const token = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
    fetch(`${config.page}/guidelines-read`, { method: "POST", body: form, headers: { "X-CSRF-Token": token } });
  },
  difference: () => toggle("difference"),
  columns: () => toggle("columns"),
  raw: () => toggle("raw"),
  full() {
    toggle("full");
    document.body.classList.toggle("full", settings.full);
    if (settings.full) document.documentElement.requestFullscreen?.().catch(() => {});
    else if (document.fullscreenElement) document.exitFullscreen();
  },
  again: () => work.exchange().then(render),
};

function act(does, details) {
  ACTIONS[does](details ?? {});
}

function toggle(name) {
  view[name] = !view[name];
  if (name in settings) settings[name] = view[name];
  render();
}

function focusOn(place) {
  view.focus = Math.min(Math.max(place, 0), shown.candidates.length - 1);
  render();
  document.querySelector(`#work [data-place="${view.focus}"]`)?.scrollIntoView({ block: "nearest" });
}

function moveBy(position, by) {
  const place = answer.order.indexOf(position) + by;
  if (place < 0 || place >= answer.order.length) return;
  const next = answers.moveTo(answer, position, place);
  view.focus = place;
  change(next);
  say(`Rank ${answers.rankOf(next)[position]}.`);
}

let flashed = null;
function flash(text) {
  const status = byId("status");
  status.textContent = text;
  status.className = "warn";
  clearTimeout(flashed);
  flashed = setTimeout(render, 3000);
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(18));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

// --- events --------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  lastActive = Date.now();
  if (isOpen() || event.defaultPrevented || event.isComposing) return;
  if (event.key === "Escape" && event.target.id === "comment") {
    view.commenting = false;
    render();
    byId("question").focus({ preventScroll: true });
    return;
  }
  const meant = meaning(event, work.current, { singleKeys: config.single_keys });
  if (!meant || (event.repeat && ["submit", "undo"].includes(meant.does))) return;
  event.preventDefault();
  act(meant.does, meant);
});

for (const kind of ["pointerdown", "scroll"]) {
  document.addEventListener(kind, () => (lastActive = Date.now()), { passive: true, capture: true });
}
document.addEventListener("fullscreenchange", () => {
  if (document.fullscreenElement || !settings.full || !view) return;
  settings.full = view.full = false;
  document.body.classList.remove("full");
  render();
});
byId("open-guidelines")?.addEventListener("click", (event) => {
  event.preventDefault();
  act("guidelines");
});
window.addEventListener("online", () => work.exchange());
window.addEventListener("pagehide", () => {
  if (shown && isKept) drafts.write(shown.id, { answer, flags: view.flags, comment: view.comment, activeMs });
});

setInterval(() => {
  const isActive = !document.hidden && Date.now() - lastActive < IDLE_MS;
  if (isActive && shown) activeMs += 1000;
}, 1000);
setInterval(async () => {
  if (document.hidden || !work.current) return;
  if (!(await work.heartbeat())) flash("This one went back to the queue; you can still submit it.");
  await work.refresh();
}, HEARTBEAT_MS);
setInterval(() => {
  if (!document.hidden && !work.current) work.exchange();
}, LOOK_AGAIN_MS);

closers();
dragging(byId("work"), (position, place) => {
  const next = answers.moveTo(answer, position, place);
  view.focus = place;
  change(next);
});
work.queue = config.queue;
await work.open(config.assignment);
render();
document.documentElement.dataset.ready = "true";
await work.refresh();
