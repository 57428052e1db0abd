// Slots written by every rebalance, as a share of all slots.
function drawMoves() {
  const chart = frame("moves", 262, {left: 44, right: 10, top: 10, bottom: 40});
  const shown = sides.filter((side, i) => !viewOf(side).even && (i === 0 || state.left !== state.right));
  const part = (view, i) => view.steps.moves[i] / view.slots;
  const most = d3.max(shown, side => d3.max(viewOf(side).steps.moves, (_, i) => part(viewOf(side), i))) || 0;
  if (!most) return note(chart, "Nothing was moved.");
  const records = leading().steps.record, gap = records.length > 1 ? records[1] - records[0] : 1;
  const x = d3.scaleLinear([records[0] - gap / 2, records[records.length - 1] + gap / 2], chart.x);
  const y = d3.scaleLinear([0, most], chart.y).nice();
  leftAxis(chart, y, 5, most < 0.05 ? ".1%" : ".0%");
  bottomAxis(chart, x, Math.max(3, chart.inner / 90));
  chart.svg.append("text").attr("x", chart.x[1]).attr("y", chart.height - 4).attr("text-anchor", "end").text("records seen");
  shown.forEach((side, k) => {
    const view = viewOf(side), at = view.steps.record;
    const slot = Math.abs(x(at.length > 1 ? at[1] : at[0] + gap) - x(at[0])), bar = Math.max(1, slot * 0.72 / shown.length);
    chart.svg.append("g").selectAll("rect").data(at).join("rect").attr("class", side + "-fill")
      .attr("x", record => x(record) + (k - shown.length / 2) * bar).attr("width", Math.max(1, bar - 1))
      .attr("y", (_, i) => y(part(view, i))).attr("height", (_, i) => chart.y[0] - y(part(view, i)));
  });
  chart.marker = chart.svg.append("line").attr("class", "marker").attr("y1", chart.y[0]).attr("y2", chart.y[1]);
  chart.at = x;
  chart.label("Slots written per rebalance: " + shown.map(side => `${viewOf(side).name} ${percent(viewOf(side).moved)} on average`).join(", "));
  stepPicker(chart, event => {
    const record = x.invert(d3.clientPoint(chart.svg.node(), event)[0]);
    return {record, text: shown.map(side => movesText(viewOf(side), record + gap / 2)).join("\n")};
  });
  charts.moves = chart;
}

function movesText(view, record) {
  const i = stepAt(view, record), moves = view.steps.moves[i];
  const size = report.bundle_bytes ? `, ${bytes(moves * report.bundle_bytes)}` : "";
  return `${view.name}: ${grouped(moves)} slots (${percent(moves / view.slots)})${size}, ${grouped(view.steps.receiver[i])} on the busiest rank`;
}
