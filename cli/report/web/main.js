// The page: words, key figures, controls, and what is drawn again when something changes.
const charts = {};  // those over time, whose markers follow the slider

function drawLead() {
  const v = viewOf("right"), s = v.about;
  const name = s.model || s.file, many = report.sources.length > 1 ? ` and ${report.sources.length - 1} more` : "";
  byId("lead").textContent = `${name}${many}: ${s.layers} ${s.layers === 1 ? "layer" : "layers"} of ${s.experts} experts on ${v.ranks} ranks` + (v.nodes > 1 ? ` on ${v.nodes} nodes` : "") +
    `. After every ${v.interval} of ${s.records} records experts are placed by the load seen so far; each placement is judged by the interval that follows.`;
}

function drawFigures() {
  const moved = v => [percent(v.moved), report.bundle_bytes ? bytes(v.moved * v.slots * report.bundle_bytes) : `${grouped(Math.round(v.moved * v.slots))} slots`];
  const shown = sides.map(side => ({view: viewOf(side), side}));
  const even = evenLayoutOf(viewOf("right"));
  if (even && !shown.some(one => one.view === even)) shown.push({view: even, side: "even"});
  const rows = [
    ["Busiest rank over mean", v => [ratio(v.next)]],
    ["Worst layer", v => [ratio(v.max)]],
    ["Waiting for the busiest rank", v => [percent(1 - 1 / v.next)]],
    ["Slots written per rebalance", v => v.even ? ["none"] : moved(v)],
  ];
  byId("figures").replaceChildren(...rows.map(([name, text]) => {
    const card = element("div", "");
    card.className = "figure";
    card.append(element("h3", name), ...shown.filter(({view, side}) => side !== "even" || text(view)[0] !== ratio(null)).map(({view, side}) => {
      const line = element("div", ""), dot = element("span", ""), [value, detail] = text(view);
      line.className = `side-${side}`;
      dot.className = "dot";
      line.append(dot, element("span", value), element("small", side === "even" ? "even layout" : detail || ""));
      line.title = view.name;
      return line;
    }));
    return card;
  }));
}

function drawTable() {
  const heads = ["records seen", ...sides.flatMap(side => ["imbalance", "worst layer", "moves"].map(what => `${side} ${what}`))];
  const rows = leading().steps.record.map(record => [grouped(record), ...sides.flatMap(side => {
    const {steps} = viewOf(side), i = stepAt(viewOf(side), record);
    return [ratio(steps.next[i]), ratio(steps.max[i]), grouped(steps.moves[i])];
  })]);
  byId("table").replaceChildren(element("p", `Left: ${viewOf("left").name}. Right: ${viewOf("right").name}.`), tableOf(heads, rows));
}

function drawStep() {
  const {record} = leading().steps, at = record[state.step], slider = byId("slider");
  slider.max = record.length - 1;
  slider.value = state.step;
  const text = `rebalance ${state.step + 1} of ${record.length}`, span = `records ${grouped(at + 1)}–${grouped(at + leading().interval)}`;
  byId("where").replaceChildren(element("b", text), ` · ${span}`);
  slider.setAttribute("aria-valuetext", `${text}, ${span}`);
  sides.forEach(drawHeat);
  drawExperts();
  Object.values(charts).forEach(chart => chart.marker.attr("x1", chart.at(at)).attr("x2", chart.at(at)));
}

function drawViews() {
  sides.forEach(side => { byId(side).value = state[side]; });
  state.step = Math.min(state.step, leading().steps.record.length - 1);
  delete charts.moves;
  drawLead();
  drawFigures();
  scaleHeat();
  drawLegend();
  fillLayers();
  sides.forEach(layoutHeat);
  drawCurves();
  drawHistogram();
  drawMoves();
  drawRuns();
  drawTable();
  const cards = [...document.querySelectorAll(".grid > .card")].filter(card => !card.hidden);
  cards.forEach((card, i) => card.classList.toggle("alone", i === cards.length - 1 && i % 2 === 0));
}

function show(changed) {
  if (changed.views) drawViews();
  if (changed.layer) byId("layer").value = state.layer;
  drawStep();
}

const player = {
  timer: 0,
  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.face("▶", "Play", false);
  },
  start() {
    if (state.step === leading().steps.record.length - 1) state.step = -1;
    this.timer = setInterval(() => this.next(), 450);
    this.face("❚❚", "Pause", true);
    this.next();
  },
  next() {
    if (state.step >= leading().steps.record.length - 1) return this.stop();
    ++state.step;
    show({step: true});
  },
  face(sign, name, pressed) {
    const [shown, spoken] = byId("play").children;
    shown.textContent = sign;
    spoken.textContent = name;
    byId("play").setAttribute("aria-pressed", pressed);
  },
};

function listen() {
  sides.forEach(side => {
    byId(side).append(...report.views.map(view => Object.assign(element("option", view.name), {value: view.index})));
    byId(side).addEventListener("change", event => { state[side] = Number(event.target.value); show({views: true}); });
  });
  byId("layer").addEventListener("change", event => { state.layer = Number(event.target.value); show({layer: true}); });
  byId("slider").addEventListener("input", event => { player.stop(); state.step = Number(event.target.value); show({step: true}); });
  byId("play").addEventListener("click", () => player.timer ? player.stop() : player.start());
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (width === window.innerWidth) return;  // a phone's address bar came or went
    width = window.innerWidth;
    show({views: true});
  });
  window.addEventListener("scroll", () => {
    const control = document.querySelector(".control");
    control.classList.toggle("stuck", control.getBoundingClientRect().top <= 0);
    hideTip();
  }, {passive: true});
}

byId("notes").textContent = report.notes.join(" ");
byId("heat-card").hidden = !report.views.some(view => view.heat);
listen();
show({views: true});
document.documentElement.dataset.ready = "yes";
