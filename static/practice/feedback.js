// Feedback in practice, in place of the bar at the foot: the comparison stays on screen beside it until the
// labeler continues. Right and wrong are stated in words and by a sign, not by color alone.

import { make } from "../label/dom.js";

export function showFeedback({ foot, root, assignment, work, setHtml, act, say }) {
  const { feedback } = work;
  mark(root, assignment, feedback.answer);
  if (foot.querySelector("[data-feedback]")) return;
  const verdict = feedback.is_right ? "✓ Right" : "✗ Not right";
  const reason = make("div", { className: "text", dir: "auto" });
  setHtml(reason, feedback.reason_html);
  const next = make("button", { type: "button", id: "submit", className: "btn main", "data-do": "submit", on: { click: () => act("submit") } }, work.queue?.open ? "Next " : "See the results ", make("kbd", { ariaHidden: "true" }, "Enter"));
  foot.className = `foot feedback-foot ${feedback.is_right ? "right" : "wrong"}`;
  foot.replaceChildren(
    make(
      "div",
      { className: "words", "data-feedback": "", tabIndex: -1 },
      make("b", { className: `outcome ${feedback.is_right ? "good" : "bad"}` }, verdict),
      make("span", {}, make("span", { className: "quiet" }, "Your judgment "), feedback.given_words),
      !feedback.is_right && make("span", {}, make("span", { className: "quiet" }, "Right answer "), make("b", {}, feedback.answer_words)),
      make("div", { className: "spread" }, next),
    ),
    reason,
  );
  say(`${verdict.slice(2)}. ${feedback.is_right ? "" : `Right answer: ${feedback.answer_words}. `}${reason.textContent.trim()}`);
  if (document.activeElement?.matches("textarea, select")) document.activeElement.blur();
  const observer = new MutationObserver(() => {
    if (foot.querySelector("[data-feedback]")) return;
    foot.className = "foot";
    observer.disconnect();
  });
  observer.observe(foot, { childList: true });
}

/** Mark the response that was settled as the better one. */
function mark(root, assignment, answer) {
  if (answer.kind !== "pick" || !["a", "b"].includes(answer.preferred)) return;
  const place = assignment.candidates.findIndex((one) => "ab"[one.position] === answer.preferred);
  const card = root.querySelector(`.cand[data-place="${place}"]`);
  const head = card?.querySelector("header") ?? card;
  if (!head || head.querySelector(".settled")) return;
  head.append(make("span", { className: "settled good" }, "✓ settled as better"));
}
