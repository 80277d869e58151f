"use strict";
// Summary, settings, suggestions, images, hardware, glossary.
function card(title, value, status, note) {
  const sentence = String(value).length > 40; // needs a line, not a tile
  return el("div", { class: sentence ? "card sentence" : "card" }, el("b", {}, value), el("span", {}, title + " ", tag(status)), note ? el("span", {}, note) : "");
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
  if (totals.host_us && totals.host_bound_us) box.append(card("at least, on this PC", (totals.host_bound_us / 1000).toFixed(2) + " ms", "estimate", Math.round(100 * totals.host_bound_us / totals.host_us) + "% of the bound reached"));
  if (errors) {
    box.append(card("output SNR against float", errors.output_snr.toFixed(2) + " dB", "exact", `cosine ${errors.output_cosine.toFixed(5)}, ${errors.images} images`));
    box.append(card("top class agrees with float", (100 * errors.agreement).toFixed(1) + "%", "exact"));
    if (errors.top1 !== null) box.append(card("top-1 int8", (100 * errors.top1).toFixed(1) + "%", "exact", "float " + (100 * errors.float_top1).toFixed(1) + "%"));
  }
  if (evaluation && evaluation.setting) box.append(card("setting", evaluation.setting, "exact", "evaluation"));
  if (evaluation) for (const [title, value] of evaluation.figures) box.append(card(title, value, "exact", "evaluation"));
  for (const [title, value, status] of record.facts || []) box.append(card(title, value, status || "exact"));
}

const FIRST_SUGGESTIONS = 3; // the rest is folded

function suggestions(box, record) {
  const items = record.suggestions || [];
  // what helps together stands last in the record, and is the one to look at
  const ordered = [...items.filter((item) => item.kind === "together"), ...items.filter((item) => item.kind !== "together")];
  const list = (part, start) => el("ol", { class: "suggestions", start }, ...part.map(suggestion));
  empty(box).append(list(ordered.slice(0, FIRST_SUGGESTIONS), 1));
  if (ordered.length > FIRST_SUGGESTIONS) box.append(el("details", {}, el("summary", {}, `${ordered.length - FIRST_SUGGESTIONS} more`), list(ordered.slice(FIRST_SUGGESTIONS), FIRST_SUGGESTIONS + 1)));
}

function suggestion(item) {
  const percent = (v) => (100 * v).toFixed(1) + "%";
  let text = `output SNR ${item.before.snr.toFixed(2)} \u2192 ${item.after.snr.toFixed(2)} dB, agreement ${percent(item.before.agreement)} \u2192 ${percent(item.after.agreement)}`;
  if (item.after.top1 !== null) text += `, top-1 ${percent(item.before.top1)} \u2192 ${percent(item.after.top1)}`;
  const name = item.layer ? el("a", { href: layerHash(item.layer) }, item.action) : el("span", {}, item.action);
  return el("li", {}, el("b", {}, name), " \u2014 " + item.cause + ". ", el("span", { class: "up" }, text + " "), tag("exact"), el("code", {}, item.setting));
}

// The settings of a sweep; the one that the rest of the page is about is marked.
function settings(box, note, evaluation) {
  const { columns, rows } = evaluation.settings;
  note.textContent = "This page shows: " + evaluation.setting;
  const numbers = rows.map((row) => row.map((text) => parseFloat(String(text).replace(/,/g, ""))));
  const body = el("tbody", {}, ...rows.map((row, at) => el("tr", row[0] === evaluation.setting ? { class: "selected" } : {}, ...row.map((text, index) => {
    const cell = el("td", index ? { "data-label": columns[index] } : { class: "text" }, text);
    const values = numbers.map((line) => line[index]);
    if (index && Number.isFinite(numbers[at][index])) bar(cell, numbers[at][index] / Math.max(...values.filter(Number.isFinite), 1e-30), "--accent");
    return cell;
  }))));
  empty(box).append(el("table", { class: "stack" }, el("thead", {}, el("tr", {}, ...columns.map((text, index) => el("th", index ? {} : { class: "text" }, text)))), body));
}

function images(box, note, record) {
  empty(box);
  note.textContent = record.evaluation.setting ? "of setting " + record.evaluation.setting : "";
  for (const item of record.evaluation.worst) {
    box.append(el("figure", {}, item.thumbnail ? el("img", { src: item.thumbnail, alt: item.name, loading: "lazy" }) : "", el("figcaption", {}, item.name, el("br", {}), item.text)));
  }
}

function hardware(box, record) {
  const heads = ["figure", "value", "unit", "status", "source", "set in"];
  const table = el("table", { class: "stack" }, el("thead", {}, el("tr", {}, ...heads.map((text, i) => el("th", { class: i === 1 ? "" : "text" }, text)))));
  const body = el("tbody", {});
  for (const [name, figure] of Object.entries(record.hardware.figures)) {
    const texts = [name, figure.value.toLocaleString("en"), figure.unit, figure.status, figure.source, figure.file];
    body.append(el("tr", {}, ...texts.map((text, i) => el("td", { class: i === 4 ? "long" : i === 1 ? "" : "text", "data-label": i ? heads[i] : null }, text))));
  }
  table.append(body);
  empty(box).append(table);
}

function glossary(box) {
  const heads = ["number", "", "key in CSV and JSON", "meaning"];
  const body = el("tbody", {}, ...COLUMNS.filter((item) => has(item.key)).map((column) =>
    el("tr", {}, el("td", { class: "text" }, column.title), el("td", { class: "text", "data-label": "source" }, tag(column.status)), el("td", { class: "text", "data-label": "key" }, column.key), el("td", { class: "long", "data-label": "meaning" }, column.about))));
  empty(box).append(el("div", { class: "scroll" }, el("table", { class: "stack" }, el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { class: "text" }, text)))), body)));
}
