// What can be done whatever the kind of judgment; the kinds bring the rest.

import { ask } from "./dialogs.js";
import { KINDS } from "./kinds.js";

const byId = (id) => document.getElementById(id);
const WHILE_READING = ["submit", "guidelines", "difference", "layout", "raw", "full"]; // what was right in practice

const SHARED = {
  next: ({ desk }) => desk.focusOn(desk.view.focus + 1),
  previous: ({ desk }) => desk.focusOn(desk.view.focus - 1),
  commented({ desk }, { text }) {
    desk.view.comment = text;
    desk.kept();
  },
  comment({ desk }) {
    desk.view.commenting = true;
    desk.draw();
    byId("comment").focus();
  },
  async flag({ desk }) {
    const assignment = desk.assignment;
    const form = await ask("flag", (fields) => {
      for (const box of fields.elements.flags) box.checked = desk.view.flags.includes(box.value);
    });
    if (!form || assignment !== desk.assignment) return;
    desk.view.flags = form.getAll("flags");
    desk.keep();
  },
  async skip({ desk, work }) {
    const { id, lease_token } = desk.assignment;
    const form = await ask("skip");
    if (!form || id !== work.current?.id) return;
    work.hand({ assignment_id: id, lease_token, key: newKey(), reason: form.get("reason"), comment: form.get("comment") });
    desk.say("Skipped. Next comparison.");
  },
  async submit({ desk, work }) {
    if (work.feedback) return work.goOn();
    const { kind, assignment } = desk;
    const reason = kind.missing(desk.answer, assignment);
    if (reason) return desk.flash(reason);
    if (kind.isUntouched?.(desk.answer) && !desk.asked) {
      const form = await ask("untouched");
      if (!form || assignment !== work.current) return;
      desk.asked = true;
    }
    work.hand({
      assignment_id: assignment.id,
      lease_token: assignment.lease_token,
      key: newKey(),
      answer: kind.toAnswer(desk.answer),
      instruction_version: assignment.instruction_version,
      flags: desk.view.flags,
      comment: desk.view.comment,
      active_ms: Math.round(desk.activeMs),
    });
    document.dispatchEvent(new Event("handed")); // the guide listens
    if (!assignment.is_practice) desk.say("Next comparison.");
  },
  async undo({ desk, work }) {
    try {
      const opened = await work.undo(newKey());
      if (opened) desk.say("The last judgment is reopened.");
      else desk.flash(work.waiting ? "Undo works once everything is saved." : "There is nothing to undo.");
    } catch (error) {
      desk.flash(error.message);
    }
  },
  guidelines({ config }) {
    byId("guidelines").showModal();
    byId("guidelines").querySelector(".drawer-body").focus();
    byId("guidelines-news")?.remove();
    const token = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
    const version = new URLSearchParams({ version: String(config.guidelines) });
    fetch(`${config.page}/guidelines-read`, { method: "POST", body: version, headers: { "X-CSRF-Token": token } }).catch(() => {});
  },
  difference: ({ desk }) => desk.toggle("difference"),
  layout: ({ desk }) => desk.toggle("columns"),
  raw: ({ desk }) => desk.toggle("raw"),
  full({ desk }) {
    desk.toggle("full");
    document.body.classList.toggle("full", desk.settings.full);
    if (desk.settings.full) document.documentElement.requestFullscreen?.().catch(() => {});
    else if (document.fullscreenElement) document.exitFullscreen();
  },
  again: ({ desk, work }) => work.exchange().then(() => desk.draw()),
};

/** Do what a key or a control asks for. `page` is { desk, work, config }. */
export function perform(page, does, details = {}) {
  if (page.work.isLookedAt || (page.work.feedback && !WHILE_READING.includes(does))) return;
  const own = page.desk.assignment && KINDS[page.desk.assignment.kind].actions[does];
  if (own) own(page.desk, details);
  else SHARED[does]?.(page, details);
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(18));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}
