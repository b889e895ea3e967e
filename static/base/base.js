// What every page does: menus that close, and fragments that refresh themselves.
// A live fragment is <div data-refresh="/url" data-every="2000">; it stops while the page is hidden and
// when the server answers with data-done on the fragment's root.

const policy = globalThis.trustedTypes?.createPolicy("attune", { createHTML: (html) => html });

/** Replace an element's content by HTML that our own server rendered. */
export function setHtml(element, html) {
  element.innerHTML = policy ? policy.createHTML(html) : html;
}

/** fetch() with the form token; throws an Error with the server's sentence on a refusal. */
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
    const error = new Error(data?.detail ?? `the server answered ${response.status}`);
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

async function refresh(element) {
  if (document.hidden) return true;
  try {
    const response = await fetch(element.dataset.refresh, { headers: { Accept: "text/html" } });
    if (!response.ok) return true;
    const focused = element.contains(document.activeElement) && document.activeElement !== document.body;
    if (!focused) setHtml(element, await response.text());
    element.dispatchEvent(new CustomEvent("refreshed", { bubbles: true }));
  } catch {
    return true; // the network may come back
  }
  return !element.querySelector("[data-done]");
}

for (const element of document.querySelectorAll("[data-refresh]")) {
  const every = Number(element.dataset.every ?? 2000);
  const tick = async () => {
    if (await refresh(element)) setTimeout(tick, every);
  };
  setTimeout(tick, every);
}
