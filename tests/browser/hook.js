// Runs before a page's own scripts: counts what payloads call and what the policy blocks.
globalThis.__ran = [];
globalThis.__blocked = [];
globalThis.z = (mark) => {
  globalThis.__ran.push(mark);
};
document.addEventListener("securitypolicyviolation", (event) => {
  globalThis.__blocked.push(`${event.violatedDirective} ${event.sample}`);
});
