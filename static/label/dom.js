// Making elements, and keeping the focus while they are made anew.

import { isSingle } from "./keys.js";

/** Return an element; `on` holds its listeners, and children that are null or false are left out. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (key in element && key !== "role") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a key as it is printed beside what it does. */
export function hint(key) {
  return make("kbd", { className: isSingle(key) ? "single" : "", ariaHidden: "true" }, key);
}

/** Draw inside `root` and give the focus, and what was selected, back to where it was. */
export function keepingFocus(root, drawInside) {
  const active = document.activeElement;
  const within = root.contains(active) && active !== root ? active : null;
  const selection = within?.matches("textarea") ? [within.selectionStart, within.selectionEnd] : null;
  drawInside();
  if (!within || document.activeElement === within) return;
  const found =
    (within.id && root.querySelector(`#${CSS.escape(within.id)}`)) ||
    (within.dataset.do && root.querySelector(`[data-do="${within.dataset.do}"]`));
  found?.focus({ preventScroll: true });
  if (found && selection) found.setSelectionRange(...selection);
}
