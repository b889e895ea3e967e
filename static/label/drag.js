// Dragging by the handle, with a mouse, a pen or a finger: the card moves with the pointer, a line shows where it would go,
// and the page scrolls near its edges. Never the only way: ▲ ▼, the rank's list and keys do the same.

const EDGE_PX = 72;
const FASTEST_PX = 16; // per frame

export function dragging(root, drop) {
  let held = null;

  root.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest("[data-grip]");
    if (!grip || event.button > 0) return;
    event.preventDefault();
    const item = grip.closest("li");
    const line = document.createElement("li");
    line.className = "drop-line";
    line.ariaHidden = "true";
    line.hidden = true;
    item.parentElement.append(line);
    held = { position: Number(grip.dataset.grip), item, line, place: null, x: event.clientX, y: event.clientY, from: { x: event.clientX, y: event.clientY + window.scrollY } };
    item.classList.add("dragged");
    root.setPointerCapture(event.pointerId);
    held.frame = requestAnimationFrame(scrolling);
  });

  root.addEventListener("pointermove", (event) => {
    if (!held) return;
    [held.x, held.y] = [event.clientX, event.clientY];
    follow();
  });

  /** Move the card with the pointer and the line to the nearest gap. */
  function follow() {
    const { item, line, from } = held;
    item.style.transform = `translate(${held.x - from.x}px, ${held.y + window.scrollY - from.y}px)`;
    const list = item.parentElement;
    const others = [...list.querySelectorAll("li[data-place]")].filter((one) => one !== item).map((one) => one.getBoundingClientRect());
    const isRow = list.classList.contains("columns") && others.length > 1 && Math.abs(others[0].top - others[1].top) < 4;
    const isRightToLeft = getComputedStyle(list).direction === "rtl";
    const isPast = (box) => (isRow ? (held.x > (box.left + box.right) / 2) !== isRightToLeft : held.y > (box.top + box.bottom) / 2);
    const place = others.filter(isPast).length;
    held.place = place === Number(item.dataset.place) ? null : place;
    line.hidden = held.place === null;
    if (line.hidden) return;
    const box = list.getBoundingClientRect();
    const before = others[place - 1];
    const after = others[place];
    if (isRow) {
      const end = isRightToLeft ? "left" : "right";
      const start = isRightToLeft ? "right" : "left";
      const x = before && after ? (before[end] + after[start]) / 2 : before ? before[end] + 4 : after[start] - 4;
      Object.assign(line.style, { left: `${x - box.left - 2}px`, top: "0", width: "4px", height: `${box.height}px` });
    } else {
      const y = before && after ? (before.bottom + after.top) / 2 : before ? before.bottom + 4 : after.top - 4;
      Object.assign(line.style, { left: "0", top: `${y - box.top - 2}px`, width: `${box.width}px`, height: "4px" });
    }
  }

  /** While the pointer is near the upper or lower edge, scroll the page under it. */
  function scrolling() {
    if (!held) return;
    const foot = document.getElementById("foot")?.offsetHeight ?? 0;
    const above = EDGE_PX - held.y;
    const below = held.y - (window.innerHeight - foot - EDGE_PX);
    const by = above > 0 ? -above : Math.max(below, 0);
    if (by) {
      const before = window.scrollY;
      window.scrollBy(0, Math.sign(by) * Math.min((Math.abs(by) / EDGE_PX) * FASTEST_PX, FASTEST_PX));
      if (window.scrollY !== before) follow();
    }
    held.frame = requestAnimationFrame(scrolling);
  }

  const end = (event) => {
    if (!held) return;
    const { position, item, line, place, frame } = held;
    held = null;
    cancelAnimationFrame(frame);
    item.classList.remove("dragged");
    item.style.transform = "";
    line.remove();
    if (event.type === "pointerup" && place !== null) drop(position, place);
  };
  root.addEventListener("pointerup", end);
  root.addEventListener("pointercancel", end);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && held) end(event);
  });
}
