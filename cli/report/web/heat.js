// Heat maps on canvas, with axes and the bars of layers' peaks beside them as SVG.
// One scale for both sides; the mean lies in its middle.
const heatColor = d3.scaleSequential(d3.interpolateViridis).clamp(true);
const palette = d3.range(256).map(i => d3.interpolateViridis(i / 255));

// So wide that nearly all cells of the views shown lie within.
function scaleHeat() {
  const heats = sides.map(side => viewOf(side).heat).filter(heat => heat);
  const high = d3.max(heats, heat => heat.far) || 1;
  const half = [0.1, 0.2, 0.3, 0.5, 0.75, 1].find(width => width >= high) || 1;
  heatColor.domain([1 - half, 1 + half]);
}

const heatMargin = {left: 34, right: 46, top: 2, bottom: 30};
const drawn = {};  // side -> what a redraw of another step needs

function peakOf(heat, at, row) {
  let most = 0;
  for (let c = 0; c < heat.columns; ++c) most = Math.max(most, heat.cells[(at * heat.rows + row) * heat.columns + c]);
  return most;
}

function layoutHeat(side) {
  const view = viewOf(side), box = byId("heat-" + side);
  box.textContent = "";
  drawn[side] = null;
  panelTitle(box, side, view, "");
  if (!view.heat) {
    d3.select(box).append("div").attr("class", "empty").text("The loads of ranks are not known: simulate --with-load records them.");
    return;
  }
  const heat = view.heat, width = Math.max(160, box.clientWidth);
  const rowHeight = Math.max(4, Math.min(34, Math.floor((width < 420 ? 300 : 420) / heat.rows)));
  const innerWidth = width - heatMargin.left - heatMargin.right, innerHeight = rowHeight * heat.rows;
  const stage = d3.select(box).append("div").attr("class", "stage");
  const height = innerHeight + heatMargin.top + heatMargin.bottom;
  const svg = stage.append("svg").attr("viewBox", `0 0 ${width} ${height}`).attr("aria-hidden", "true");
  const canvas = stage.append("canvas").node(), scale = Math.max(1, Math.min(3, window.devicePixelRatio || 1));
  canvas.width = Math.round(innerWidth * scale);
  canvas.height = Math.round(innerHeight * scale);
  const part = (length, of) => 100 * length / of + "%";  // so that it keeps its place when paper is narrower
  Object.assign(canvas.style, {left: part(heatMargin.left, width), top: part(heatMargin.top, height), width: part(innerWidth, width), height: part(innerHeight, height)});
  canvas.setAttribute("role", "img");
  heatAxes(svg, heat, rowHeight, innerWidth, innerHeight);
  drawn[side] = {view, box, canvas, svg, rowHeight, innerWidth, peaks: svg.append("g")};
  canvas.addEventListener("pointermove", event => heatTip(side, event));
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("click", event => chooseLayer(side, event));
  drawHeat(side);
}

function heatAxes(svg, heat, rowHeight, innerWidth, innerHeight) {
  const {left, top} = heatMargin, every = rowHeight < 18 ? d3.tickStep(0, heat.rows, innerHeight / 26) : 1;
  const rows = d3.range(0, heat.rows, Math.max(1, every)), columns = d3.range(0, heat.columns, Math.max(1, d3.tickStep(0, heat.columns, innerWidth / 44)));
  svg.append("g").selectAll("text").data(rows).join("text").attr("x", left - 6).attr("y", row => top + (row + 0.5) * rowHeight)
    .attr("dy", "0.35em").attr("text-anchor", "end").text(row => heat.layers[row]);
  svg.append("g").selectAll("text").data(columns).join("text").attr("x", c => left + (c + 0.5) * innerWidth / heat.columns)
    .attr("y", top + innerHeight + 14).attr("text-anchor", "middle").text(c => c * heat.fold);
  svg.append("text").attr("x", left + innerWidth).attr("y", top + innerHeight + 28).attr("text-anchor", "end").text("rank");
  svg.append("text").attr("x", 0).attr("y", top + innerHeight + 28).text("layer");
}

function drawHeat(side) {
  const on = drawn[side];
  if (!on) return;
  const heat = on.view.heat, at = frameOf(on.view), record = on.view.steps.record[heat.frames[at]];
  paint(on.canvas, heat, at, Math.min(on.rowHeight, on.innerWidth / heat.columns) >= 10);
  const peaks = d3.range(heat.rows).map(row => peakOf(heat, at, row));
  const x = d3.scaleLinear([1, heatColor.domain()[1]], [0, heatMargin.right - 8]).clamp(true);
  on.peaks.selectAll("rect").data(peaks).join("rect").attr("class", side + "-fill").attr("x", heatMargin.left + on.innerWidth + 5)
    .attr("y", (_, row) => heatMargin.top + row * on.rowHeight + Math.min(2, on.rowHeight / 6)).attr("height", on.rowHeight - Math.min(4, on.rowHeight / 3))
    .attr("width", peak => x(peak));
  const mean = d3.mean(peaks), worst = d3.maxIndex(peaks);
  d3.select(on.box).select("em").remove();
  d3.select(on.box).select(".panel-title").append("em").text(`${record === recordShown() ? "" : `record ${grouped(record)}: `}${ratio(mean)} · worst ${ratio(peaks[worst])} in layer ${heat.layers[worst]}`);
  on.canvas.setAttribute("aria-label", `${on.view.name}: load of ${heat.columns} ranks in ${heat.rows} layers after record ${record}. ` +
    `Busiest rank over mean: ${ratio(mean)} on average, ${ratio(peaks[worst])} in layer ${heat.layers[worst]}.`);
}

// Cells with a hairline between them where there is room for one.
function paint(canvas, heat, at, room) {
  const context = canvas.getContext("2d"), {columns, rows, cells} = heat, [low, high] = heatColor.domain();
  const w = canvas.width / columns, h = canvas.height / rows, gap = room ? Math.round(canvas.width / canvas.clientWidth) || 1 : 0;
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (let row = 0; row < rows; ++row) {
    const y = Math.round(row * h), below = Math.round((row + 1) * h);
    for (let c = 0; c < columns; ++c) {
      const x = Math.round(c * w), right = Math.round((c + 1) * w), load = cells[(at * rows + row) * columns + c];
      context.fillStyle = palette[Math.round(255 * Math.min(1, Math.max(0, (load - low) / (high - low))))];
      context.fillRect(x, y, right - x - gap, below - y - gap);
    }
  }
}

function cellAt(side, event) {
  const on = drawn[side], heat = on.view.heat, area = on.canvas.getBoundingClientRect();
  const clamp = (x, n) => Math.max(0, Math.min(n - 1, Math.floor(x * n)));
  return {heat, row: clamp((event.clientY - area.top) / area.height, heat.rows), column: clamp((event.clientX - area.left) / area.width, heat.columns)};
}

function heatTip(side, event) {
  const {heat, row, column} = cellAt(side, event), at = frameOf(viewOf(side));
  const load = heat.cells[(at * heat.rows + row) * heat.columns + column];
  const ranks = heat.fold === 1 ? `rank ${column}` : `busiest of ranks ${column * heat.fold}–${Math.min(viewOf(side).ranks, (column + 1) * heat.fold) - 1}`;
  showTip(event, `layer ${heat.layers[row]}, ${ranks}\n${ratio(load)} × the mean`);
}

function chooseLayer(side, event) {
  const {heat, row} = cellAt(side, event);
  state.layer = heat.layers[row];
  show({layer: true});
}

function drawLegend() {
  const chart = frame("legend", 30, {left: 1, right: 1, top: 0, bottom: 18});
  const steps = 48, [low, high] = heatColor.domain();
  chart.svg.selectAll("rect").data(d3.range(steps)).join("rect").attr("x", i => chart.x[0] + chart.inner * i / steps).attr("y", 2).attr("height", 9)
    .attr("width", chart.inner / steps + 0.6).attr("fill", i => heatColor(low + (high - low) * (i + 0.5) / steps)).attr("shape-rendering", "crispEdges");
  const marks = [[low, "start", low === 0 ? "idle" : `≤ ${short(low)}`], [1, "middle", "mean"], [high, "end", `≥ ${short(high)} × mean`]];
  const x = d3.scaleLinear([low, high], chart.x);
  chart.svg.selectAll("text").data(marks).join("text").attr("x", m => x(m[0])).attr("y", 25).attr("text-anchor", m => m[1]).text(m => m[2]);
  chart.label(`Colours: from ${short(low)} (dark) to ${short(high)} times the mean (bright)`);
}
