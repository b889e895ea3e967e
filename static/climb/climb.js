// The picture as PNG: the browser draws the SVG file at twice its size.

import { png, save } from "../charts/files.js";

for (const link of document.querySelectorAll("[data-png]")) {
  link.hidden = false;
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const problem = document.querySelector("#png-problem");
    problem.hidden = true;
    try {
      const response = await fetch(link.href);
      if (!response.ok) throw new Error(`the server responded with status ${response.status}`);
      save(await png(await response.text()), link.dataset.png);
    } catch (error) {
      problem.textContent = `This browser could not draw the PNG (${error.message}). Download the SVG instead.`;
      problem.hidden = false;
    }
  });
}
