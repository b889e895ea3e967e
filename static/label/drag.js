// Dragging by the handle, with a mouse, a pen or a finger. Never the only way: ▲ ▼, the rank's list and keys
// do the same.

export function dragging(root, drop) {
  let held = null;

  root.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest("[data-grip]");
    if (!grip || event.button > 0) return;
    event.preventDefault();
    held = { position: Number(grip.dataset.grip), item: grip.closest("li"), place: null };
    held.item.classList.add("dragged");
    root.setPointerCapture(event.pointerId);
  });

  root.addEventListener("pointermove", (event) => {
    if (!held) return;
    const over = document.elementsFromPoint(event.clientX, event.clientY).map((one) => one.closest("li[data-place]")).find(Boolean);
    for (const item of root.querySelectorAll("li.target")) item.classList.remove("target");
    held.place = over && over !== held.item ? Number(over.dataset.place) : null;
    if (held.place !== null) over.classList.add("target");
  });

  const end = (event) => {
    if (!held) return;
    const { position, item, place } = held;
    held = null;
    item.classList.remove("dragged");
    for (const one of root.querySelectorAll("li.target")) one.classList.remove("target");
    if (event.type === "pointerup" && place !== null) drop(position, place);
  };
  root.addEventListener("pointerup", end);
  root.addEventListener("pointercancel", end);
}
