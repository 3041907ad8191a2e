// A readout under the pointer on every curve. Without scripts the page loses nothing else.
for (const chart of document.querySelectorAll("svg.chart")) {
  const points = JSON.parse(chart.dataset.points), make = (kind, name) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", kind);
    node.setAttribute("class", name);
    return node;
  };
  const line = make("line", "cursor"), dot = make("circle", "end"), text = make("text", "readout");
  dot.setAttribute("r", 3.5);
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const near = points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
    line.setAttribute("x1", near[0]); line.setAttribute("x2", near[0]);
    line.setAttribute("y1", 10); line.setAttribute("y2", 166);
    dot.setAttribute("cx", near[0]); dot.setAttribute("cy", near[1]);
    text.textContent = near[3] + " at " + near[2];
    text.setAttribute("text-anchor", near[0] > 240 ? "end" : "start");
    text.setAttribute("x", near[0] + (near[0] > 240 ? -7 : 7)); text.setAttribute("y", 18);
    chart.append(line, dot, text);
  });
  chart.addEventListener("pointerleave", () => [line, dot, text].forEach((node) => node.remove()));
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((node) => { node.open = true; }));
