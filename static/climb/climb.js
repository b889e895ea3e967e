// The picture as PNG: the browser draws the SVG file at twice its size.

const SCALE = 2;

async function png(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth * SCALE;
  canvas.height = image.naturalHeight * SCALE;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the picture is too large"))), "image/png");
  });
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

for (const link of document.querySelectorAll("[data-png]")) {
  link.hidden = false;
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const problem = document.querySelector("#png-problem");
    problem.hidden = true;
    try {
      save(await png(link.href), link.dataset.png);
    } catch (error) {
      problem.textContent = `This browser could not draw the PNG (${error.message}). Download the SVG instead.`;
      problem.hidden = false;
    }
  });
}
