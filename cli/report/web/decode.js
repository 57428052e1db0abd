"use strict";
// What page_json.cpp wrote, as typed arrays.
const report = JSON.parse(document.getElementById("data").textContent);

const digitOf = new Uint8Array(128);
[..."0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"].forEach((c, i) => { digitOf[c.charCodeAt(0)] = i; });

function number(text, at, width) {
  let value = 0;
  for (let i = at; i < at + width; ++i) value = value * 64 + digitOf[text.charCodeAt(i)];
  return value;
}

function decodeHeat(heat) {
  const cells = new Float32Array(heat.cells.length / 2);
  for (let i = 0; i < cells.length; ++i) cells[i] = number(heat.cells, 2 * i, 2) / 4095 * heat.top;
  const far = d3.quantile(Array.from(cells, x => Math.abs(x - 1)), 0.995);  // nearly all cells are nearer to the mean
  return {...heat, cells, far, rows: heat.layers.length};
}

// The experts of one frame and row, busiest first.
function expertsOf(view, frame, row) {
  const {count, top, cells} = view.experts;
  const first = (frame * view.heat.rows + row) * count;
  return d3.range(count).map(i => {
    const at = (first + i) * 7;
    return {expert: number(cells, at, 3), copies: number(cells, at + 3, 2), load: number(cells, at + 5, 2) / 4095 * top};
  });
}

report.views.forEach((view, index) => {
  view.index = index;
  view.about = report.sources[view.source];
  view.slots = view.about.layers * (view.about.experts + view.redundant);
  if (view.heat) view.heat = decodeHeat(view.heat);
});
