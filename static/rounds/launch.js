// Recalculates the steps of the plan while the form is being filled in; without this module, the button does.
const base = document.querySelector('script[src*="/base/base.js"]');
// Import the URL of the page's script tag: a second copy of the module could not create its policy.
const { setHtml } = await import(base.src);

const form = document.querySelector("form[data-steps]");
const place = form.querySelector("[data-steps-here]");
const button = form.querySelector("[data-launch]");
let waiting = 0;
let asked = 0;

// Another choice changes the settings that it covers, except those that a person has changed.
function fill(element) {
  if (!element) return;
  for (const [name, value] of Object.entries(JSON.parse(element.dataset.fill))) {
    form.elements[name].value = value ?? "";
  }
}

// A project that lacks something cannot launch: the button is disabled and described by the reason.
function allow(isReady) {
  button.disabled = !isReady;
  if (isReady) button.removeAttribute("aria-describedby");
  else button.setAttribute("aria-describedby", "not-ready");
}

async function count() {
  const query = new URLSearchParams(new FormData(form));
  query.delete("csrf_token");
  const mine = ++asked;
  try {
    const response = await fetch(`${form.dataset.steps}?${query}`, { headers: { Accept: "text/html" } });
    if (mine !== asked) return;
    if (!response.ok) return allow(true);
    const open = [...place.querySelectorAll("details[open]")].map((details) => details.dataset.keep);
    setHtml(place, await response.text());
    for (const details of place.querySelectorAll("details")) details.open = open.includes(details.dataset.keep);
    fill(place.querySelector("[data-fill]"));
    allow(!place.querySelector("#not-ready"));
  } catch {
    allow(true); // The network may recover, and the server refuses what cannot start.
  }
}

// Open the section of an invalid field, because a hidden field cannot show its message.
form.addEventListener("invalid", (event) => event.target.closest("details")?.setAttribute("open", ""), true);

form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(count, 250);
});
