// The bar at the foot: every action with its key, the state of saving, and Submit. Also the key list, and what is
// said when there is nothing to judge.

import { hint, keepingFocus, make } from "./dom.js";
import { KINDS } from "./kinds.js";
import { isSingle, keysFor } from "./keys.js";
import { ask } from "./view.js";
import { clock } from "./work.js";

export function drawFoot(foot, { assignment, state, status, act }) {
  const rows = keysFor(assignment);
  const kind = assignment && KINDS[assignment.kind];
  const button = (does, label, key, extra = {}) =>
    rows.some((row) => row.does === does) &&
    make("button", { type: "button", className: "btn plain", "data-do": does, on: { click: () => act(does) }, ...extra }, hint(key), " ", label);
  const isBad = Boolean(assignment && kind.isBad?.(state));
  const rest = () => [button("flag", "Flag", "f"), button("comment", "Comment", "c"), button("guidelines", "Keys", "?")];
  const open = foot.querySelector("details")?.open ?? false;
  keepingFocus(foot, () => {
    foot.replaceChildren(
      ...[
        button("undo", "Undo", "u"),
        button("skip", "Skip", "s"),
        button("bad", kind?.badLabel, "b", { ariaPressed: String(isBad), className: `btn plain${isBad ? " on" : ""}` }),
        make("div", { className: "wide-only row" }, ...rest()),
        make("details", { className: "menu up narrow-only", open }, make("summary", { className: "btn plain" }, "More"), make("div", { className: "menu-body" }, ...rest())),
        make("div", { className: "spread" }, make("small", { id: "status", className: status.tone ?? "" }, status.text), assignment && submit(kind, state, assignment, act)),
      ].filter(Boolean),
    );
  });
}

function submit(kind, state, assignment, act) {
  const isComplete = kind.missing(state, assignment) === null;
  const isJudged = isComplete && !kind.isUntouched?.(state); // an order as it was shown is not a judgment yet
  return make(
    "button",
    { type: "button", id: "submit", className: "btn main", "data-do": "submit", ariaDisabled: String(!isComplete), "data-judged": String(isJudged), on: { click: () => act("submit") } },
    "Submit ",
    make("kbd", { ariaHidden: "true" }, kind.submitKey ?? "Enter"),
  );
}

/** Return what is true about saving; a short notice goes before it. */
export function statusOf({ work, desk }) {
  if (desk.notice) return { text: desk.notice, tone: "warn" };
  if (work.trouble?.kind === "offline") return { text: `${work.waiting} not saved yet · ${work.held.length} ready`, tone: "warn" };
  if (work.waiting) return { text: "Saving…" };
  if (desk.assignment && !desk.isAsFound) return desk.isKept ? { text: "Draft saved" } : { text: "Not saved: this browser does not store drafts", tone: "warn" };
  if (work.savedAt) return { text: `Saved ${clock(work.savedAt)}` };
  return { text: "" };
}

/** Draw the reasons why there is nothing to judge. */
export function drawNothing(root, queue, trouble, act, config) {
  const reasons = queue?.reasons ?? [];
  const isWaiting = !queue || queue.open > 0 || queue.held > 0;
  root.className = "";
  ask([]);
  root.replaceChildren(
    make(
      "section",
      { className: "card empty" },
      make("h1", { id: "question", tabIndex: -1 }, trouble ? "Waiting for the server" : isWaiting ? "Fetching the next comparison" : "Nothing to judge right now"),
      ...reasons.map((reason) => make("p", {}, reason)),
      make("p", { className: "quiet" }, "This page checks again automatically."),
      make("div", { className: "row" },
        queue?.is_practising ? make("a", { className: "btn main", href: config.practice }, "Practice") : make("button", { type: "button", className: "btn main", on: { click: () => act("again") } }, "Check again"), make("a", { className: "btn", href: "/" }, "Your projects")),
    ),
  );
}

/** Print the key list from the table of keys. */
export function drawKeys(body, assignment) {
  body.replaceChildren(
    ...keysFor(assignment).map((row) =>
      make("tr", {}, make("td", {}, ...row.keys.flatMap((key, at) => [at ? " " : "", make("kbd", { className: isSingle(key) ? "single" : "" }, key)])), make("td", {}, row.says)),
    ),
  );
}
