// The chat page: the newest exchange follows the worker by server-sent events, or by polling where those fail;
// Enter sends; a button copies a response.

// By the address of the page's own script, so that it is not run a second time.
const { setHtml } = await import(document.querySelector('script[src*="/base/base.js"]').src);

const POLL_MS = 1000;
const live = document.getElementById("live");
const form = document.getElementById("say");
const text = document.getElementById("text");
const send = document.getElementById("send");
const anew = document.getElementById("anew");
const halt = document.getElementById("halt");

function show(html) {
  setHtml(live, html);
  offerCopies(live);
}

function finish() {
  live.setAttribute("aria-busy", "false");
  if (send) send.disabled = false;
  if (anew) anew.disabled = false;
  if (halt) halt.hidden = true;
}

async function poll() {
  try {
    const response = await fetch(live.dataset.live, { headers: { Accept: "text/html" } });
    if (response.ok) show(await response.text());
  } catch {
    // the network may recover
  }
  if (live.querySelector("[data-done]")) finish();
  else setTimeout(poll, POLL_MS);
}

function follow() {
  const source = new EventSource(live.dataset.events);
  let heard = false;
  source.addEventListener("live", (event) => {
    heard = true;
    show(event.data);
  });
  source.addEventListener("done", () => {
    source.close();
    if (live.querySelector("[data-done]")) finish();
    else follow(); // the server ends long streams
  });
  source.addEventListener("error", () => {
    if (heard && source.readyState !== EventSource.CLOSED) return; // it connects again by itself
    source.close();
    poll();
  });
}

function offerCopies(root) {
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.hidden = false;
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
});

text?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!send.disabled && text.value.trim()) form.requestSubmit(send);
});

for (const hint of document.querySelectorAll(".scripted")) hint.hidden = false;
if (!navigator.clipboard) for (const button of document.querySelectorAll("[data-copy]")) button.remove();
else offerCopies(document);
if (live?.dataset.events) follow();
