// The labels of charts that are not whole inside their chart.
() => [...document.querySelectorAll(".chart-plot text")].filter((one) => {
  const box = one.getBoundingClientRect();
  const plot = one.closest(".chart-plot").getBoundingClientRect();
  return box.left < plot.left - 2 || box.right > plot.right + 2;
}).map((one) => one.textContent)
