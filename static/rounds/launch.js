// Counts the steps of the plan while it is being typed; the button does the same without this module.
const base = document.querySelector('script[src*="/base/base.js"]');
// The same address as the page's own tag: a second copy of the module could not make its policy.
const { setHtml } = await import(base.src);

const form = document.querySelector("form[data-steps]");
const place = form.querySelector("[data-steps-here]");
let waiting = 0;
let asked = 0;

async function count() {
  const query = new URLSearchParams(new FormData(form));
  query.delete("csrf_token");
  const mine = ++asked;
  try {
    const response = await fetch(`${form.dataset.steps}?${query}`, { headers: { Accept: "text/html" } });
    if (response.ok && mine === asked) setHtml(place, await response.text());
  } catch {
    // The network may come back; the button counts too.
  }
}

// For browsers whose style sheets cannot: a field that is folded away cannot say what is wrong with it.
form.addEventListener("invalid", (event) => event.target.closest("details")?.setAttribute("open", ""), true);

form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(count, 250);
});
