// All runs at once: what they write against how balanced they are.
function drawRuns() {
  const runs = report.views.filter(view => !view.even);
  byId("runs-card").hidden = runs.length < 3;
  if (runs.length < 3) return;
  const chart = frame("scatter", 260, {left: 44, right: 16, top: 12, bottom: 40});
  const x = d3.scaleSqrt([0, d3.max(runs, v => v.moved) || 0.01], chart.x).nice();
  const y = excessAxis(chart, runs.map(v => v.next)), most = x.domain()[1];
  const ticks = [0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1].filter(part => part <= most && (part === 0 || x(part) - x(0) > 34));
  bottomAxis(chart, x, ticks, part => short(100 * part) + " %");
  chart.svg.append("text").attr("x", chart.x[1]).attr("y", chart.height - 4).attr("text-anchor", "end").text("slots written per rebalance");
  chart.svg.append("g").selectAll("circle").data(runs).join("circle").attr("cx", v => x(v.moved)).attr("cy", v => y(v.next))
    .attr("r", v => v.index === state.right || v.index === state.left ? 7 : 5)
    .attr("class", v => "run " + (v.index === state.right ? "right-fill" : v.index === state.left ? "left-fill" : "even-fill faint"))
    .on("pointermove", v => showTip(d3.event, `${v.name}\n${ratio(v.next)} at ${percent(v.moved)}`)).on("pointerleave", hideTip)
    .on("click", v => { state.right = v.index; show({views: true}); });
  chart.label(`${runs.length} runs by slots written and imbalance; the table below has the figures`);
  const heads = ["run", "imbalance", "95 % below", "worst layer", "slots written", "moves"];
  byId("runs-table").replaceChildren(tableOf(heads, runs.map(v => [v.name, ratio(v.next), ratio(v.p95), ratio(v.max), percent(v.moved), grouped(v.moves)])));
}
