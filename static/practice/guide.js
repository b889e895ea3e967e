// The guide at a first comparison: ticks its steps off as they are done, and leaves with the first judgment or when it
// is sent away. It listens to the page and changes nothing in it.

const guide = document.getElementById("guide");

function tick(step) {
  const item = guide.querySelector(`[data-step="${step}"]`);
  if (!item || item.classList.contains("done")) return;
  item.classList.add("done");
  const said = document.createElement("span");
  said.className = "visually-hidden";
  said.textContent = " Done.";
  item.append(said);
}

const foot = document.getElementById("foot");
const watch = new MutationObserver(() => {
  if (foot.querySelector('#submit[data-judged="true"]')) { // whoever has judged has read
    tick("read");
    tick("judge");
  }
  if (/^(Saving|Saved)/.test(document.getElementById("status")?.textContent ?? "") || foot.querySelector("[data-feedback]")) leave();
});
watch.observe(foot, { childList: true, subtree: true, attributes: true });

function leave() {
  watch.disconnect();
  if (guide.contains(document.activeElement)) document.getElementById("question")?.focus();
  guide.remove();
}

guide.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) }).catch(() => {});
  leave();
});
