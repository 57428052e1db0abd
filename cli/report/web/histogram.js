// Layers by imbalance, one view above the other on the same axis. The page's bins are fine; neighbours are added up.
const barsMost = 28;

function barsOf(shown) {
  const last = d3.max(shown, side => d3.max(report.histograms[state[side]].map((n, i) => n ? i + 1 : 0)));
  const merge = [1, 2, 4, 5, 10, 20].find(k => last / k <= barsMost) || 20, width = report.bins.width * merge, count = Math.ceil(last / merge);
  const counts = view => d3.range(count).map(i => d3.sum(report.histograms[view].slice(i * merge, (i + 1) * merge)));
  return {width, count, counts, beyond: last === report.bins.count};
}

function drawHistogram() {
  const shown = sides.filter((side, i) => report.histograms[state[side]].length && (i === 0 || state.left !== state.right));
  byId("histogram-card").hidden = !report.histograms.some(counts => counts.length);
  if (!shown.length) {
    note(frame("histogram", 120, {left: 0, right: 0, top: 0, bottom: 0}), "Layers are not known for these runs.");
    return;
  }
  const chart = frame("histogram", 250, {left: 38, right: 10, top: 6, bottom: 40});
  const {from} = report.bins, bars = barsOf(shown), share = view => bars.counts(view).map(n => n / d3.sum(bars.counts(view)));
  const x = d3.scaleLinear([from, from + bars.width * bars.count], chart.x);
  const band = (chart.y[0] - chart.y[1]) / shown.length;
  const most = d3.max(shown, side => d3.max(share(state[side])));
  shown.forEach((side, i) => {
    const base = chart.y[1] + (i + 1) * band, y = d3.scaleLinear([0, most], [base, base - band + 20]);
    const parts = share(state[side]), bar = chart.inner / bars.count;
    chart.svg.append("line").attr("x1", chart.x[0]).attr("x2", chart.x[1]).attr("y1", base).attr("y2", base).attr("stroke", "var(--line)");
    chart.svg.append("g").selectAll("rect").data(parts).join("rect").attr("class", side + "-fill").attr("x", (_, k) => chart.x[0] + k * bar + 0.5)
      .attr("width", Math.max(1, bar - 1)).attr("y", part => y(part)).attr("height", part => base - y(part));
    const ticks = y.ticks(3).filter(tick => tick > 0);
    chart.svg.append("g").selectAll("text").data(ticks).join("text").attr("x", chart.x[0] - 6).attr("y", y).attr("dy", "0.32em").attr("text-anchor", "end").text(t => Math.round(100 * t) + " %");
    chart.svg.append("text").attr("class", "strong").attr("x", chart.x[1]).attr("y", base - band + 16).attr("text-anchor", "end").text(fitted(viewOf(side).name, chart.inner));
    chart.svg.append("rect").attr("class", "hit").attr("x", chart.x[0]).attr("width", chart.inner).attr("y", base - band).attr("height", band)
      .on("pointermove", () => binTip(d3.event, side, bars, Math.floor((d3.clientPoint(chart.svg.node(), d3.event)[0] - chart.x[0]) / bar))).on("pointerleave", hideTip);
  });
  bottomAxis(chart, x, Math.max(3, chart.inner / 80));
  chart.svg.append("text").attr("x", chart.x[1]).attr("y", chart.height - 4).attr("text-anchor", "end").text("busiest rank over mean");
  chart.label("Layers by imbalance: " + shown.map(side => `${viewOf(side).name}, 95 % of layers below ${ratio(viewOf(side).p95)}`).join("; "));
}

function binTip(event, side, bars, bin) {
  if (bin < 0 || bin >= bars.count) return hideTip();
  const counts = bars.counts(state[side]), low = report.bins.from + bin * bars.width;
  const range = bars.beyond && bin === bars.count - 1 ? `above ${low.toFixed(3)}` : `${low.toFixed(3)}–${(low + bars.width).toFixed(3)}`;
  showTip(event, `${viewOf(side).name}\n${range}: ${grouped(counts[bin])} of ${grouped(d3.sum(counts))} layers`);
}
