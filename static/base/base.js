// Behavior of all pages: closing menus, confirming forms, refreshing live fragments, the reader's time zone;
// the modules for tables and for the command palette are fetched where they are needed.
// A live fragment is <div data-refresh="/url" data-every="2000">; it does not refresh while the page is hidden, and
// stops once the server responds with data-done on an element of the fragment.

const policy = globalThis.trustedTypes?.createPolicy("attune", { createHTML: (html) => html });

/** Replace the content of an element with HTML that the server rendered. */
export function setHtml(element, html) {
  element.innerHTML = policy ? policy.createHTML(html) : html;
}

/** Call fetch() with the form token; throw an Error with the server's message if the request is rejected. */
export async function send(url, { method = "POST", body, headers = {}, ...rest } = {}) {
  const token = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
  const response = await fetch(url, {
    method,
    headers: { "Content-Type": "application/json", "X-CSRF-Token": token, Accept: "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
    ...rest,
  });
  const isJson = (response.headers.get("content-type") ?? "").includes("json");
  const data = isJson ? await response.json() : null;
  if (!response.ok) {
    const error = new Error(data?.detail ?? `the server responded with status ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return data;
}

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// Replace a fragment; what the reader has folded or unfolded stays so, by its id.
function replace(element, html) {
  const isOpen = new Map([...element.querySelectorAll("details[id]")].map((part) => [part.id, part.open]));
  setHtml(element, html);
  for (const part of element.querySelectorAll("details[id]")) part.open = isOpen.get(part.id) ?? part.open;
}

// Tell a fragment that keeps its elements, because one of them has the focus, what it would have become.
function keep(element, html) {
  const next = document.createElement("template");
  setHtml(next, html);
  element.dispatchEvent(new CustomEvent("kept", { bubbles: true, detail: next.content }));
}

async function refresh(element) {
  if (document.hidden) return true;
  try {
    const response = await fetch(element.dataset.refresh, { headers: { Accept: "text/html" } });
    if (!response.ok) return true;
    const focused = element.contains(document.activeElement) && document.activeElement !== document.body;
    const html = await response.text();
    if (!focused) replace(element, html);
    else if (document.activeElement.closest("[data-chart]")) keep(element, html);
    element.dispatchEvent(new CustomEvent("refreshed", { bubbles: true }));
  } catch {
    return true; // the network may recover
  }
  return !element.querySelector("[data-done]");
}

async function furnish(root) {
  for (const table of root.querySelectorAll(".text table")) table.tabIndex = 0; // it may scroll
  if (root.querySelector("time[datetime], [data-zone]")) {
    const { localize, nameZone } = await import("/static/base/times.js");
    localize(root);
    nameZone(root);
  }
  if (root.querySelector("table[data-table]")) {
    const { equip } = await import("/static/base/tables.js");
    equip(root);
  }
}

furnish(document);
document.addEventListener("refreshed", (event) => furnish(event.target));

let palette;

/** Open the palette; what is typed while it is fetched for the first time is not lost. */
async function openPalette() {
  if (palette) return palette.open();
  let typed = "";
  const keep = (event) => {
    if (event.key.length !== 1 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    typed += event.key;
  };
  document.addEventListener("keydown", keep, true);
  try {
    palette = await import("/static/base/palette.js");
  } finally {
    document.removeEventListener("keydown", keep, true);
  }
  return palette.open(typed);
}

for (const button of document.querySelectorAll("[data-palette]")) {
  button.hidden = false;
  button.addEventListener("click", openPalette);
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    event.preventDefault();
    openPalette();
  });
}

for (const element of document.querySelectorAll("[data-refresh]")) {
  const every = Number(element.dataset.every ?? 2000);
  const tick = async () => {
    if (await refresh(element)) setTimeout(tick, every);
  };
  setTimeout(tick, every);
}

/** Keep what the address names in sight while charts and tools are drawn above it, until the reader does something. */
function keepAim() {
  const aim = document.querySelector(":target");
  if (!aim) return;
  const observer = new ResizeObserver(() => aim.scrollIntoView({ block: "nearest" }));
  observer.observe(document.body);
  const stop = () => observer.disconnect();
  for (const kind of ["wheel", "touchstart", "pointerdown", "keydown"]) addEventListener(kind, stop, { once: true, passive: true });
  setTimeout(stop, 3000);
}
addEventListener("load", keepAim);
