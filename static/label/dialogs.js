// Dialogs: asked with a promise, closed with Esc, and focus goes back to where it was.

/** Open a form dialog; returns its FormData once it is sent, null when it is closed. */
export function ask(id, prepare = () => {}) {
  const dialog = document.getElementById(id);
  const form = dialog.querySelector("form");
  form.reset();
  prepare(form);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue ? new FormData(form) : null), { once: true });
  });
}

export function isOpen() {
  return document.querySelector("dialog[open]") !== null;
}

export function closers() {
  for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close(); // the backdrop
    });
  }
}
