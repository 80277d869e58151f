"use strict";
// Puts the sections together and reacts to choices.
function show(id, wanted) { byId(id).hidden = !wanted; }

function renderTable() { layerTable(byId("table"), run()); }

function renderCharts() {
  const record = run();
  if (!record.layers.length) return;
  bars(byId("cost-chart"), record.layers, ["compute_cycles", "memory_cycles"]);
  bars(byId("time-chart"), record.layers, [byId("time-key").value]);
  const pairs = { snr: ["snr_entire", "snr_single"], cosine: ["cosine_entire", "cosine_single"], mean: ["mean_error", "mean_error_single"], max: ["max_error", "max_error_single"] };
  if (record.errors) {
    const chosen = pairs[byId("error-key").value];
    lines(byId("error-chart"), record.layers, chosen.map((key, index) => ({ label: index ? "single" : "entire", column: BY_KEY[key], value: (layer) => layer[key] })));
  }
  if (has("only_snr")) {
    const key = byId("sensitivity-key").value;
    const ordered = record.layers.filter((layer) => typeof layer[key] === "number").sort((a, b) => (key.startsWith("only") ? a[key] - b[key] : b[key] - a[key]));
    bars(byId("sensitivity-chart"), ordered, [key]);
  }
  if (record.cost) roofline(byId("roofline-chart"), record);
  if (record.network) {
    const box = byId("network-box"), bringIntoView = reveal(box, record);
    network(box, record, byId("network-key").value);
    bringIntoView();
  }
  memory(byId("memory-chart"), byId("memory-note"), record);
  if (DATA.runs.length > 1 && byId("compare-key").value) comparison(byId("compare-box"), byId("compare-key").value);
}

function renderSelection() {
  details(byId("details-box"), run());
  for (const node of document.querySelectorAll("#layers tr[data-layer]")) node.classList.toggle("selected", node.dataset.layer === state.layer);
  renderCharts();
}

function renderRun() {
  const record = run();
  const layers = record.layers;
  if (!layers.some((layer) => layer.name === state.layer)) state.layer = record.errors ? record.errors.worst_single : null;
  byId("title").textContent = record.model;
  byId("about").textContent = record.about;
  findingsList(byId("findings-box"), record.findings);
  summary(byId("cards"), record);
  show("sec-summary", byId("cards").children.length > 0);
  show("sec-table", layers.length > 0);
  show("sec-details", layers.length > 0);
  show("sec-network", layers.length > 0 && record.network);
  show("sec-cost", Boolean(record.cost));
  show("sec-time", layers.length > 0);
  show("sec-memory", layers.length > 0 && Boolean(record.memory));
  show("sec-roofline", Boolean(record.cost));
  show("sec-error", Boolean(record.errors));
  show("sec-sensitivity", layers.length > 0 && has("only_snr"));
  const sweep = record.evaluation && record.evaluation.settings && record.evaluation.settings.rows.length > 1;
  show("sec-settings", Boolean(sweep));
  if (sweep) settings(byId("settings-box"), byId("settings-note"), record.evaluation);
  show("sec-suggestions", (record.suggestions || []).length > 0);
  show("sec-images", Boolean(record.evaluation && record.evaluation.worst.length));
  show("sec-hardware", Boolean(record.hardware));
  show("sec-glossary", layers.length > 0);
  if (layers.length) {
    options(byId("network-key"), numeric(), record.errors ? "snr_single" : "macs");
    options(byId("time-key"), numeric(), has("host_us") ? "host_us" : "macs");
    renderTable();
    glossary(byId("glossary-box"));
  }
  if ((record.suggestions || []).length) suggestions(byId("suggestions-box"), record);
  if (record.evaluation) images(byId("images-box"), byId("images-note"), record);
  if (record.hardware) hardware(byId("hardware-box"), record);
  renderSelection();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
}

function start() {
  setTheme(window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  byId("filter").addEventListener("input", (event) => { state.filter = event.target.value; renderTable(); });
  for (const [key, text] of Object.entries(GROUP_NAMES)) byId("group").append(el("option", { value: key }, text + " columns"));
  byId("group").addEventListener("change", (event) => { state.group = event.target.value; renderTable(); });
  byId("in-order").addEventListener("click", () => { state.sort = null; renderTable(); });
  byId("sort").addEventListener("change", (event) => { state.sort = event.target.value || null; state.down = Boolean(state.sort) && BY_KEY[state.sort].form !== "text"; renderTable(); });
  byId("copy").addEventListener("click", (event) => copyTable(event.target));
  byId("download").addEventListener("click", downloadTable);
  startNetwork(byId("network-box"));
  for (const id of ["network-key", "time-key", "error-key", "sensitivity-key", "compare-key", "compare-order"]) byId(id).addEventListener("change", renderCharts);
  show("sec-compare", DATA.runs.length > 1);
  show("runs", DATA.runs.length > 1);
  DATA.runs.forEach((record, index) => byId("runs").append(el("button", {
    type: "button", "aria-pressed": String(index === 0),
    onclick: (event) => {
      state.run = index;
      for (const button of byId("runs").children) button.setAttribute("aria-pressed", String(button === event.target));
      renderRun();
    },
  }, letter(index) + ": " + DATA.labels[index])));
  if (DATA.runs.length > 1) {
    findingsList(byId("compared-box"), DATA.compared);
    facts(byId("compare-facts"));
    byId("compare-legend").append(runLegend());
    const both = numeric().filter((column) => DATA.runs.every((record) => has(column.key, record.layers)));
    show("compare-layers", both.length > 0);
    if (both.length) options(byId("compare-key"), both, comparedKey(both));
  }
  state.layer = layerOfAddress();
  renderRun();
  if (layerOfAddress() && state.layer) byId("sec-details").scrollIntoView();
  window.addEventListener("hashchange", () => {
    const name = layerOfAddress();
    if (name === null || !run().layers.some((layer) => layer.name === name)) return;
    select(name);
    byId("sec-details").scrollIntoView({ block: "nearest" });
  });
  let timer = null, width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(timer);
    timer = setTimeout(() => { if (run().network) graphOf(run()).zoom = null; renderSelection(); }, 120);
  });
  let before = null;
  window.addEventListener("beforeprint", () => { before = document.documentElement.dataset.theme; setTheme("light"); renderSelection(); });
  window.addEventListener("afterprint", () => { setTheme(before || "light"); renderSelection(); });
}

start();
