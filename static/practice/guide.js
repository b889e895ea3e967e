// The guide at a first comparison: ticks a step while it is done, and takes the tick back when it no longer is. It stays with
// all its ticks after the first judgment and leaves with the next one, or when it is sent away. It listens to the page
// and changes nothing in it.

const guide = document.getElementById("guide");
const foot = document.getElementById("foot");
const work = document.getElementById("work");

const seen = new Set(); // the responses whose end was in view
let shown = ""; // the comparison they belong to
let isOver = false; // the first judgment has been submitted

function tick(step, isDone) {
  const item = guide.querySelector(`[data-step="${step}"]`);
  if (!item || item.classList.contains("done") === isDone) return;
  item.classList.toggle("done", isDone);
  if (!isDone) return item.querySelector(".said-done").remove();
  const said = document.createElement("span");
  said.className = "visually-hidden said-done";
  said.textContent = " Done.";
  item.append(said);
}

/** Note which responses have been in view to their end. */
function look() {
  const key = work.querySelector(".prompt")?.dataset.key.split(" ")[0] ?? "";
  if (key !== shown) seen.clear();
  shown = key;
  const covers = [foot, ...work.querySelectorAll(".scale, .verdict")].filter((one) => one.offsetHeight && getComputedStyle(one).position === "sticky");
  const bottom = Math.min(window.innerHeight, ...covers.map((one) => one.getBoundingClientRect().top));
  const cards = [...work.querySelectorAll(".cand")];
  cards.forEach((card, at) => {
    const body = card.querySelector(".text, .raw, textarea") ?? card;
    const place = body.getBoundingClientRect();
    if (place.height && place.bottom <= bottom) seen.add(card.dataset.position ?? at);
  });
  return seen.size >= cards.length;
}

function progress() {
  const isRead = look();
  if (isOver) return;
  const isJudged = foot.querySelector('#submit[data-judged="true"]') !== null;
  tick("judge", isJudged);
  tick("read", isJudged && isRead);
}

const watch = new MutationObserver(progress);
watch.observe(foot, { childList: true, subtree: true, attributes: true });
document.addEventListener("scroll", progress, { passive: true });
document.addEventListener("handed", () => {
  if (isOver) return leave();
  isOver = true;
  tick("submit", true);
  guide.querySelector("h2").textContent = "Your first comparison is done";
  guide.querySelector("#guide-away").textContent = "Close";
});

function leave() {
  watch.disconnect();
  document.removeEventListener("scroll", progress);
  if (guide.contains(document.activeElement)) document.getElementById("question")?.focus();
  guide.remove();
}

guide.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) }).catch(() => {});
  leave();
});
