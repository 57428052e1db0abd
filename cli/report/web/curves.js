// Imbalance over the recording; the even layout stays in sight as what to compare with.
function curvesShown() {
  const list = sides.map(side => ({view: viewOf(side), ink: side}));
  const even = evenLayoutOf(list[1].view);
  if (even && !list.some(one => one.view === even)) list.unshift({view: even, ink: "even"});
  return state.left === state.right ? list.filter(one => one.ink !== "left") : list;
}

function drawCurves() {
  const chart = frame("curves", 250, {left: 38, right: 10, top: 10, bottom: 40});
  const list = curvesShown();
  const all = list.flatMap(({view, ink}) => [...view.steps.next, ...(ink === "even" ? [] : view.steps.max)]).filter(v => v != null);
  const x = d3.scaleLinear(d3.extent(list.flatMap(one => one.view.steps.record)), chart.x);
  const y = excessAxis(chart, all);
  bottomAxis(chart, x, Math.max(3, chart.inner / 90));
  chart.svg.append("text").attr("x", chart.x[1]).attr("y", chart.height - 4).attr("text-anchor", "end").text("records seen");
  list.forEach(({view, ink}) => {
    const points = view.steps.record.map((record, i) => ({record, mean: view.steps.next[i], max: view.steps.max[i]}));
    chart.svg.append("path").attr("class", `line ${ink}-ink`).attr("d", d3.line().x(p => x(p.record)).y(p => y(p.mean))(points));
    if (ink === "even") return;
    chart.svg.append("g").selectAll("circle").data(points.filter(p => p.max != null)).join("circle").attr("class", `${ink}-fill faint`)
      .attr("cx", p => x(p.record)).attr("cy", p => y(p.max)).attr("r", points.length > 100 ? 1.5 : 2.4);
  });
  chart.marker = chart.svg.append("line").attr("class", "marker").attr("y1", chart.y[0]).attr("y2", chart.y[1]);
  chart.at = x;
  chart.label("Imbalance after each rebalance: " + list.map(({view}) => `${view.name} ${ratio(view.next)} on average`).join(", "));
  stepPicker(chart, event => {
    const record = x.invert(d3.clientPoint(chart.svg.node(), event)[0]);
    return {record, text: list.map(({view}) => {
      const i = stepAt(view, record);
      return `${view.name}: ${ratio(view.steps.next[i])}` + (view.steps.max[i] == null ? "" : `, worst layer ${ratio(view.steps.max[i])}`);
    }).join("\n")};
  });
  charts.curves = chart;
}

// Logarithmic in what exceeds 1, so that good and bad placements can be told apart on one axis. Returns y of a ratio.
function excessAxis(chart, ratios) {
  const round = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100], [low, high] = d3.extent(ratios);
  const floor = round[Math.max(0, d3.bisectRight(round, low - 1) - 1)], top = round[Math.min(round.length - 1, Math.max(1, d3.bisectLeft(round, high - 1)))];
  const y = d3.scaleLog([floor, Math.max(top, 2 * floor)], chart.y).clamp(true);
  const axis = d3.axisLeft(y).tickValues(round.filter(x => x >= floor && x <= Math.max(top, 2 * floor))).tickFormat(x => String(+(1 + x).toFixed(3)))
    .tickSize(-chart.inner).tickPadding(6);
  chart.svg.append("g").attr("transform", `translate(${chart.x[0]},0)`).call(axis);
  return value => y(Math.max(floor, value - 1));
}

// A click on a chart over time moves the slider there.
function stepPicker(chart, readout) {
  const hit = chart.svg.append("rect").attr("class", "hit").attr("x", chart.x[0]).attr("y", chart.y[1])
    .attr("width", chart.inner).attr("height", chart.y[0] - chart.y[1]).node();
  const nearest = event => {
    const {record, text} = readout(event), at = leading().steps.record;
    const right = Math.min(at.length - 1, d3.bisectLeft(at, record));
    return {step: right > 0 && record - at[right - 1] < at[right] - record ? right - 1 : right, text};
  };
  hit.addEventListener("pointermove", event => showTip(event, nearest(event).text));
  hit.addEventListener("pointerleave", hideTip);
  hit.addEventListener("click", event => { state.step = nearest(event).step; show({step: true}); });
}
