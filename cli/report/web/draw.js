// Helpers that all charts share.
function frame(id, height, margin) {
  const box = byId(id);
  const width = Math.max(160, box.clientWidth);
  box.textContent = "";
  const svg = d3.select(box).append("svg").attr("viewBox", `0 0 ${width} ${height}`).attr("role", "img");
  return {
    box, svg, width, height,
    x: [margin.left, width - margin.right], y: [height - margin.bottom, margin.top],
    inner: width - margin.left - margin.right,
    label: text => svg.attr("aria-label", text),
  };
}

function bottomAxis(chart, scale, ticks, format) {
  const axis = d3.axisBottom(scale).tickSize(0).tickPadding(8);
  if (Array.isArray(ticks)) axis.tickValues(ticks); else axis.ticks(ticks);
  if (format) axis.tickFormat(format);
  chart.svg.append("g").attr("transform", `translate(0,${chart.y[0]})`).call(axis);
}

function leftAxis(chart, scale, ticks, format) {
  const axis = d3.axisLeft(scale).ticks(ticks, format).tickSize(-chart.inner).tickPadding(6);
  chart.svg.append("g").attr("transform", `translate(${chart.x[0]},0)`).call(axis);
}

// About six pixels a letter; the whole name stands in the tip and above.
const fitted = (text, width) => text.length * 6 <= width ? text : text.slice(0, Math.max(1, Math.floor(width / 6) - 1)) + "…";

function note(chart, text) {
  chart.svg.append("text").attr("x", (chart.x[0] + chart.x[1]) / 2).attr("y", (chart.y[0] + chart.y[1]) / 2)
    .attr("text-anchor", "middle").text(text);
}

function showTip(event, text) {
  const tip = byId("tip");
  tip.textContent = text;
  tip.hidden = false;
  const {width, height} = tip.getBoundingClientRect();
  const x = Math.min(window.innerWidth - width - 6, Math.max(6, event.clientX + 14));
  const above = event.clientY - height - 12;
  tip.style.left = x + "px";
  tip.style.top = (above > 4 ? above : event.clientY + 18) + "px";
}
const hideTip = () => { byId("tip").hidden = true; };

function panelTitle(box, side, view, text) {
  const title = d3.select(box).append("p").attr("class", `panel-title side-${side}`);
  title.append("span").attr("class", "dot").attr("aria-hidden", "true");
  title.append("span").text(view.name).attr("title", view.name);
  if (text) title.append("em").text(text);
}

const element = (tag, text) => Object.assign(document.createElement(tag), {textContent: text});
function tableOf(heads, rows) {
  const table = document.createElement("table");
  const line = (cells, tag) => {
    const tr = document.createElement("tr");
    tr.append(...cells.map(cell => element(tag, cell)));
    return tr;
  };
  table.append(line(heads, "th"), ...rows.map(row => line(row, "td")));
  return table;
}
