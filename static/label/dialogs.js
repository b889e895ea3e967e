// Dialogs: asked with a promise, closed with Esc, and focus goes back to where it was.

const unsettled = new Map(); // by dialog: settles the last question asked with it

/** Open a form dialog; returns its FormData once it is sent, null when it is closed. */
export function ask(id, prepare = () => {}) {
  const dialog = document.getElementById(id);
  const form = dialog.querySelector("form");
  unsettled.get(id)?.(); // closed a moment ago: its event comes after the dialog is open again
  form.reset();
  prepare(form);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const settle = () => {
      dialog.removeEventListener("close", closed);
      unsettled.delete(id);
      resolve(dialog.returnValue ? new FormData(form) : null);
    };
    const closed = () => dialog.open || settle();
    dialog.addEventListener("close", closed);
    unsettled.set(id, settle);
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
