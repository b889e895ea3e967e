// The keys j and k move between pairs, and at the ends to the next or previous page.

const singleKeys = !document.body.classList.contains("no-single-keys");
const pairs = [...document.querySelectorAll(".pair")];

function current() {
  const within = pairs.indexOf(document.activeElement?.closest(".pair"));
  if (within >= 0) return within;
  // Nothing is focused: the pair before the first one that starts within the window.
  const next = pairs.findIndex((pair) => pair.getBoundingClientRect().top >= 0);
  return next < 0 ? pairs.length - 1 : next - 1;
}

function go(by) {
  const target = pairs[current() + by];
  if (target) {
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: "start" });
  } else {
    document.querySelector(`.pager a[rel="${by > 0 ? "next" : "prev"}"]`)?.click();
  }
}

document.addEventListener("keydown", (event) => {
  if (!singleKeys || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, select, textarea, [contenteditable]")) return;
  const by = { j: 1, k: -1 }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  go(by);
});
