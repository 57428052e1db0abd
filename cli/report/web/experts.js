// The busiest experts of one layer, each bar cut into its copies.
function layersKnown() {
  const view = sides.map(viewOf).find(one => one.experts) || report.views.find(one => one.experts);
  return view ? view.heat.layers : [];
}

function fillLayers() {
  const layers = layersKnown(), select = byId("layer");
  byId("experts-card").hidden = !layers.length;
  if (!layers.includes(state.layer)) state.layer = layers[0] || 0;
  select.replaceChildren(...layers.map(layer => Object.assign(element("option", layer), {value: layer})));
  select.value = state.layer;
}

function drawExperts() {
  if (byId("experts-card").hidden) return;
  const known = sides.filter((side, i) => viewOf(side).experts && (i === 0 || state.left !== state.right));
  byId("experts").style.gridTemplateColumns = known.length > 1 ? "" : "minmax(0, 1fr)";
  const data = new Map(known.map(side => [side, expertsShown(viewOf(side))]));
  const top = d3.max([...data.values()].flat(), e => e.load) || 1;
  sides.forEach(side => {
    byId("experts-" + side).hidden = !known.includes(side);
    if (data.has(side)) drawSide(side, data.get(side), top, known.length > 1);
  });
}

function expertsShown(view) {
  const row = view.heat.layers.indexOf(state.layer);
  return row < 0 ? [] : expertsOf(view, frameOf(view), row);
}

function drawSide(side, list, top, titled) {
  const line = 15, chart = frame("experts-" + side, 2 + line * Math.max(1, list.length), {left: 30, right: 30, top: 0, bottom: 2});
  const x = d3.scaleLinear([0, top], chart.x), y = i => chart.y[1] + i * line;
  if (titled) {
    panelTitle(chart.box, side, viewOf(side), "");
    chart.box.prepend(chart.box.lastChild);
  }
  const bars = chart.svg.selectAll("g").data(list).join("g").attr("transform", (_, i) => `translate(0,${y(i)})`);
  bars.append("text").attr("x", chart.x[0] - 6).attr("y", line / 2).attr("dy", "0.32em").attr("text-anchor", "end").text(e => e.expert);
  bars.selectAll("rect").data(e => d3.range(e.copies).map(i => ({i, e}))).join("rect").attr("class", side + "-fill").attr("y", 2).attr("height", line - 4)
    .attr("x", d => x(d.i * d.e.load / d.e.copies)).attr("width", d => Math.max(0.5, x(d.e.load / d.e.copies) - x(0) - 1.5));
  bars.append("text").attr("x", e => x(e.load) + 5).attr("y", line / 2).attr("dy", "0.32em").text(e => e.copies > 1 ? "× " + e.copies : "");
  bars.append("rect").attr("class", "hit").attr("x", 0).attr("width", chart.width).attr("height", line)
    .on("pointermove", e => showTip(d3.event, `expert ${e.expert}: ${ratio(e.load)} × the mean expert\n${e.copies === 1 ? "one copy" : e.copies + " copies"}`)).on("pointerleave", hideTip);
  chart.label(`Busiest experts of layer ${state.layer}, ${viewOf(side).name}: ` + list.slice(0, 5).map(e => `${e.expert} with ${e.copies}`).join(", "));
}
