// What is shown: two views, a step, a layer. Whoever changes it calls show().
const state = {left: report.left, right: report.right, step: 0, layer: 0};
const sides = ["left", "right"];
const viewOf = side => report.views[state[side]];
const byId = id => document.getElementById(id);

// The step of another view that lies at the same record, or just before it.
function stepAt(view, record) {
  return Math.max(0, d3.bisectRight(view.steps.record, record) - 1);
}

// Steps are those of the view with more of them.
function leading() {
  const [a, b] = sides.map(viewOf);
  return a.steps.record.length >= b.steps.record.length ? a : b;
}
const recordShown = () => leading().steps.record[state.step];

// The last frame of the heat map at or before the step shown.
function frameOf(view) {
  const step = stepAt(view, recordShown());
  return Math.max(0, d3.bisectRight(view.heat.frames, step) - 1);
}

// What a view is compared with.
function evenLayoutOf(view) {
  return report.views.find(one => one.even && one.source === view.source && one.interval === view.interval && one.ranks === view.ranks);
}

const ratio = x => x == null ? "–" : x.toFixed(x < 10 ? 3 : 1);
const percent = x => (100 * x).toFixed(100 * x < 10 ? 1 : 0) + " %";
const short = x => String(+x.toFixed(2));
const grouped = d3.format(",");
function bytes(count) {
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  const i = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** i;
  return value.toFixed(value < 10 && i > 0 ? 1 : 0) + " " + units[i];
}
