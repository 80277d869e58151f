"use strict";
// Summary, details, suggestions, images, hardware, comparison.
function card(title, value, status, note) {
  return el("div", { class: "card" }, el("b", {}, value), el("span", {}, title + " ", tag(status)), note ? el("span", {}, note) : "");
}

function summary(box, record) {
  empty(box);
  const totals = record.totals, cost = record.cost, errors = record.errors, evaluation = record.evaluation;
  if (totals.macs !== undefined) {
    box.append(card("MACs per image", short(totals.macs), "exact"));
    box.append(card("vendor's ops_count", short(totals.ops_count), "exact"));
    box.append(card("parameters", short(totals.parameters), "exact", short(totals.weight_bytes) + "B of weights"));
  }
  if (cost) {
    box.append(card("on " + cost.hardware, cost.milliseconds.toFixed(2) + " ms", "estimate", cost.frames_per_second.toFixed(1) + " frames per second"));
    const share = Object.entries(cost.bound_cycles).map(([name, cycles]) => `${Math.round(100 * cycles / cost.cycles)}% ${name}`);
    box.append(card("bound by", cost.bound, "estimate", share.join(", ")));
    box.append(card("DDR traffic", short(cost.ddr_read + cost.ddr_write) + "B", "estimate"));
    for (const [label, value] of Object.entries(cost.sensitivity)) box.append(card("with " + label, value.milliseconds.toFixed(2) + " ms", "estimate"));
  }
  if (totals.host_us) box.append(card("on this PC", (totals.host_us / 1000).toFixed(2) + " ms", "measured", record.machine.cpu + ", one thread"));
  if (errors) {
    box.append(card("output SNR against float", errors.output_snr.toFixed(2) + " dB", "exact", `cosine ${errors.output_cosine.toFixed(5)}, ${errors.images} images`));
    box.append(card("top class agrees with float", (100 * errors.agreement).toFixed(1) + "%", "exact"));
    if (errors.top1 !== null) box.append(card("top-1 int8", (100 * errors.top1).toFixed(1) + "%", "exact", "float " + (100 * errors.float_top1).toFixed(1) + "%"));
  }
  if (evaluation && evaluation.setting) box.append(card("setting", evaluation.setting, "exact", "evaluation"));
  if (evaluation) for (const [title, value] of evaluation.figures) box.append(card(title, value, "exact", "evaluation"));
  for (const [title, value, status] of record.facts || []) box.append(card(title, value, status || "exact"));
}

function details(box, record) {
  empty(box);
  const layer = record.layers.find((item) => item.name === state.layer);
  if (!layer) { box.append(el("p", { class: "note" }, "Choose a layer in the table, the drawing or a chart.")); return; }
  box.append(el("h3", { id: "chosen" }, layer.name));
  const list = el("dl", { class: "facts" });
  for (const column of COLUMNS) {
    const value = layer[column.key];
    if (value === null || value === undefined || value === "" || column.key === "name") continue;
    list.append(el("div", { title: column.about }, el("dt", {}, column.title + " ", column.form === "text" && column.status === "exact" ? "" : tag(column.status)), el("dd", {}, format(column, value) + (column.unit && column.form !== "share" ? " " + column.unit : ""))));
  }
  const chart = el("div", {});
  const legend = el("div", { class: "legend" }, el("span", {}, el("i", {}), "integers ", tag("exact")), el("span", {}, el("i", { class: "two" }), "float network, at the same scale ", tag("exact")));
  box.append(el("h3", {}, "Values"), legend, chart, list);
  histogram(chart, record.histograms && record.histograms[layer.name]);
}

function suggestions(box, record) {
  empty(box);
  for (const item of record.failures || []) box.append(el("p", { class: "finding" }, el("b", {}, "Finding: "), item.text));
  const list = el("ol", { class: "suggestions" });
  for (const item of record.suggestions || []) {
    const percent = (v) => (100 * v).toFixed(1) + "%";
    let text = `output SNR ${item.before.snr.toFixed(2)} \u2192 ${item.after.snr.toFixed(2)} dB, agreement ${percent(item.before.agreement)} \u2192 ${percent(item.after.agreement)}`;
    if (item.after.top1 !== null) text += `, top-1 ${percent(item.before.top1)} \u2192 ${percent(item.after.top1)}`;
    const name = item.layer ? el("a", { href: "#details", onclick: () => select(item.layer) }, item.action) : el("span", {}, item.action);
    list.append(el("li", {}, el("b", {}, name), " \u2014 " + item.cause + ". ", el("span", { class: "up" }, text + " "), tag("exact"), el("code", {}, item.setting)));
  }
  box.append(list);
}

// The settings of a sweep; the one that the rest of the page is about is marked.
function settings(box, note, evaluation) {
  const { columns, rows } = evaluation.settings;
  note.textContent = "This page shows: " + evaluation.setting;
  const cell = (kind, text, index) => el(kind, index ? {} : { class: "text" }, text);
  const body = el("tbody", {}, ...rows.map((row) => el("tr", row[0] === evaluation.setting ? { class: "selected" } : {}, ...row.map((text, index) => cell("td", text, index)))));
  empty(box).append(el("table", {}, el("thead", {}, el("tr", {}, ...columns.map((text, index) => cell("th", text, index)))), body));
}

function images(box, note, record) {
  empty(box);
  note.textContent = record.evaluation.setting ? "of setting " + record.evaluation.setting : "";
  for (const item of record.evaluation.worst) {
    box.append(el("figure", {}, item.thumbnail ? el("img", { src: item.thumbnail, alt: item.name, loading: "lazy" }) : "", el("figcaption", {}, item.name, el("br", {}), item.text)));
  }
}

function hardware(box, record) {
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...["figure", "value", "unit", "status", "source", "set in"].map((text, i) => el("th", { class: i === 1 ? "" : "text" }, text)))));
  const body = el("tbody", {});
  for (const [name, figure] of Object.entries(record.hardware.figures)) {
    body.append(el("tr", {}, el("td", { class: "text" }, name), el("td", {}, figure.value.toLocaleString("en")), el("td", { class: "text" }, figure.unit), el("td", { class: "text" }, figure.status), el("td", { class: "long" }, figure.source), el("td", { class: "text" }, figure.file)));
  }
  table.append(body);
  empty(box).append(table);
}

function glossary(box) {
  const body = el("tbody", {}, ...COLUMNS.filter((item) => has(item.key)).map((column) =>
    el("tr", {}, el("td", { class: "text" }, column.title), el("td", { class: "text" }, tag(column.status)), el("td", { class: "text" }, column.key), el("td", { class: "long" }, column.about))));
  const heads = ["number", "", "key in CSV and JSON", "meaning"].map((text) => el("th", { class: "text" }, text));
  empty(box).append(el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body)));
}

// Two records, layer by layer, in one column.
function comparison(box, key) {
  const [a, b] = DATA.runs;
  const column = BY_KEY[key];
  const other = Object.fromEntries(b.layers.map((layer) => [layer.name, layer]));
  const chart = el("div", {});
  const rows = a.layers.filter((layer) => other[layer.name]);
  const table = el("table", {}, el("thead", {}, el("tr", {}, el("th", { class: "text" }, "layer"), el("th", {}, "A"), el("th", {}, "B"), el("th", {}, "B - A"))));
  const body = el("tbody", {});
  for (const layer of rows) {
    const x = layer[key], y = other[layer.name][key];
    const difference = typeof x === "number" && typeof y === "number" ? y - x : null;
    let better = "";
    if (difference && column.good) better = (difference > 0) === (column.good === "high") ? "up" : "down";
    const sign = difference > 0 ? "+" : "";
    body.append(el("tr", { "data-layer": layer.name, onclick: () => select(layer.name) }, el("td", { class: "text" }, layer.name), el("td", {}, format(column, x)), el("td", {}, format(column, y)), el("td", { class: better }, difference === null ? "" : sign + format(column, difference))));
  }
  table.append(body);
  empty(box).append(el("div", { class: "legend" }, el("span", {}, el("i", {}), "A: " + DATA.labels[0]), el("span", {}, el("i", { class: "two" }), "B: " + DATA.labels[1])), chart, el("div", { class: "scroll tall" }, table));
  lines(chart, rows, [
    { label: "A", column, value: (layer) => layer[key] },
    { label: "B", column, value: (layer) => other[layer.name][key] },
  ]);
  return rows.length;
}

function facts(box) {
  const keys = [...new Set(DATA.runs.flatMap((record) => (record.pairs || []).map((pair) => pair[0])))];
  const find = (record, key) => ((record.pairs || []).find((pair) => pair[0] === key) || ["", ""])[1];
  // options that are the same in both are left out
  const shown = keys.filter((key) => !key.startsWith("option ") || find(DATA.runs[0], key) !== find(DATA.runs[1], key));
  const table = el("table", { class: "facts-table" }, el("thead", {}, el("tr", {}, el("th", { class: "text" }, ""), el("th", {}, "A"), el("th", {}, "B"))));
  table.append(el("tbody", {}, ...shown.map((key) => el("tr", {}, el("td", { class: "text" }, key), ...DATA.runs.map((record) => el("td", {}, find(record, key)))))));
  empty(box).append(table);
}
