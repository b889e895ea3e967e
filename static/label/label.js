// The labeling page: connects keys, clicks and dialogs to the judgment in hand, and the judgment to the server.

import { perform } from "./actions.js";
import { Desk } from "./desk.js";
import { closers, isOpen } from "./dialogs.js";
import { dragging } from "./drag.js";
import { Drafts } from "./drafts.js";
import { drawFoot, drawKeys, drawNothing, statusOf } from "./foot.js";
import { meaning } from "./keys.js";
import { draw, settle } from "./view.js";
import { clock, Work } from "./work.js";

// The very module that the page has loaded, whatever version its address carries.
const { send, setHtml } = await import(document.querySelector('script[src*="/base/base.js"]').src);

const HEARTBEAT_MS = 60_000;
const LOOK_AGAIN_MS = 15_000;
const IDLE_MS = 60_000;
const AWAY_MS = 5 * 60_000;

const byId = (id) => document.getElementById(id);
const config = JSON.parse(byId("label").dataset.page);
const drafts = new Drafts(config.user, config.api);
const work = new Work({ api: config.api, send, drafts, changed: () => (work.current === desk.assignment && hasBegun ? frame() : render()) });
const desk = new Desk({ config, drafts, screen: { draw: render, frame, say } });
const page = { desk, work, config };

const isPractice = config.api.endsWith("/practice");
const { showFeedback } = isPractice ? await import("../practice/feedback.js") : {};

let hasBegun = false;
let lastActive = Date.now();

// --- what is on screen ---------------------------------------------------------------------------

function render() {
  if (work.current !== desk.assignment || !hasBegun) begin();
  byId("plain").hidden = true;
  byId("work").hidden = false;
  byId("foot").hidden = false;
  const { assignment, answer: state, view } = desk;
  if (assignment) draw(byId("work"), { assignment, state, view, config, setHtml, act });
  else if (isPractice && work.queue?.open === 0 && !work.waiting) location.assign(config.practice); // how it went
  else drawNothing(byId("work"), work.queue, work.trouble?.kind === "offline", act, config);
  frame();
  settle(byId("work"));
}

/** Draw what surrounds the comparison: the foot, the counts, and what is wrong. */
function frame() {
  if (work.feedback) desk.isKept = false; // it has been judged, so nothing of it is a draft any more
  if (work.feedback) showFeedback?.({ foot: byId("foot"), root: byId("work"), assignment: desk.assignment, work, setHtml, act, say });
  else drawFoot(byId("foot"), { assignment: desk.assignment, state: desk.answer, status: statusOf({ work, desk }), act });
  const trouble = byId("trouble");
  trouble.hidden = !work.trouble;
  if (trouble.textContent !== (work.trouble?.text ?? "")) trouble.textContent = work.trouble?.text ?? "";
  counts();
  if (rulesAreNews() && !work.waiting && !work.feedback && !isOpen() && (!desk.assignment || desk.isAsFound)) location.reload(); // to the rules, and back to this comparison
}

function rulesAreNews() {
  return (work.queue?.guidelines_version ?? 0) > config.guidelines;
}

function begin() {
  const isFirst = !hasBegun;
  hasBegun = true;
  desk.begin(work.current);
  drawKeys(byId("key-list"), desk.assignment);
  queueMicrotask(() => {
    if (!isFirst) window.scrollTo(0, 0);
    const begun = desk.assignment && desk.kind.begin?.();
    if (!isFirst && !begun && document.activeElement?.id !== "answer-text") byId("question")?.focus({ preventScroll: true });
  });
}

function counts() {
  const queue = work.queue ?? config.queue;
  const waiting = drafts.outbox.filter((item) => item.answer).length;
  byId("today").textContent = (queue.today + work.judgedHere + waiting).toLocaleString();
  const isAhead = work.ahead.length > 2;
  byId("ready").textContent = isAhead ? ` · ${work.ahead.length} ready` : "";
  byId("ready").title = isAhead ? `Fetched ahead, so that you can continue without a connection; held for you until ${clock(work.heldUntil)}` : "";
  const left = queue.open + queue.held - work.judgedHere - waiting;
  byId("left").textContent = Math.max(left, work.held.length).toLocaleString() + (queue.is_open_exact ? "" : "+");
}

function say(text) {
  byId("said").textContent = text;
}

function act(does, details) {
  perform(page, does, details);
}

// --- events --------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  lastActive = Date.now();
  if (isOpen() || event.defaultPrevented || event.isComposing) return;
  if (event.key === "Escape" && event.target.matches("#work textarea")) {
    if (event.target.id === "comment") desk.view.commenting = false;
    render();
    byId("question").focus({ preventScroll: true });
    return;
  }
  const meant = meaning(event, desk.assignment, { singleKeys: config.single_keys });
  if (!meant || (event.repeat && ["submit", "undo"].includes(meant.does))) return;
  event.preventDefault();
  act(meant.does, meant);
});

// A click chooses and leaves the focus where it was, so that Enter goes on meaning submit.
for (const id of ["work", "ask"]) {
  byId(id).addEventListener("mousedown", (event) => {
    if (!event.target.closest(".choose, .step, .side, .move, .point, .thumb, .reason, .tool")) return;
    event.preventDefault();
    if (document.activeElement?.matches("textarea, select")) byId("question")?.focus({ preventScroll: true });
  });
}
for (const kind of ["pointerdown", "scroll"]) {
  document.addEventListener(kind, () => (lastActive = Date.now()), { passive: true, capture: true });
}
document.addEventListener("fullscreenchange", () => {
  if (document.fullscreenElement) return;
  if (desk.view?.full) act("full");
  desk.settings.full = false;
  document.body.classList.remove("full");
});
byId("open-guidelines")?.addEventListener("click", (event) => {
  event.preventDefault();
  act("guidelines");
});
window.addEventListener("online", () => work.exchange());
window.addEventListener("resize", () => settle(byId("work")));
new ResizeObserver(() => settle(byId("work"))).observe(byId("foot"));
window.addEventListener("pagehide", () => {
  desk.leave();
  work.giveBack();
});

setInterval(() => {
  const isActive = !document.hidden && Date.now() - lastActive < IDLE_MS;
  if (isActive && desk.assignment) desk.activeMs += 1000;
}, 1000);
setInterval(async () => {
  if (Date.now() - lastActive > AWAY_MS) work.giveBack();
  if (document.hidden || !work.current) return;
  if (!(await work.heartbeat())) desk.flash("This comparison went back to the queue; you can still submit it.");
  await work.refresh();
  if (Date.now() - lastActive < AWAY_MS) work.exchange();
}, HEARTBEAT_MS);
setInterval(() => {
  if (!document.hidden && !work.current) work.exchange();
}, LOOK_AGAIN_MS);

closers();
dragging(byId("work"), (position, place) => act("drop", { position, place }));
work.queue = config.queue;
const opened = work.open(config.assignment);
render();
await opened;
document.documentElement.dataset.ready = "true";
await work.refresh();
await work.exchange();
