"use strict";
// Any number of runs side by side: facts, and one number layer by layer against the first run.
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const letter = (index) => (index < LETTERS.length ? LETTERS[index] : "#" + (index + 1));

function runLegend() {
  return el("div", { class: "legend" }, ...DATA.labels.map((label, index) => el("span", {}, el("i", { class: "s" + (index % 8) }), `${letter(index)}: ${label}`)));
}

// What differs comes first; what is the same in all runs stands below, without the options.
function facts(box) {
  const find = (record, key) => ((record.pairs || []).find((pair) => pair[0] === key) || ["", ""])[1];
  const keys = [...new Set(DATA.runs.flatMap((record) => (record.pairs || []).map((pair) => pair[0])))];
  const differs = (key) => DATA.runs.some((record) => find(record, key) !== find(DATA.runs[0], key));
  const shown = [...keys.filter(differs), ...keys.filter((key) => !differs(key) && !key.startsWith("option "))];
  const heads = ["", ...DATA.labels.map((label, index) => `${letter(index)}: ${label}`)];
  const table = el("table", { class: "stack facts-table" }, el("thead", {}, el("tr", {}, ...heads.map((text, i) => el("th", { class: i ? "" : "text" }, text)))));
  table.append(el("tbody", {}, ...shown.map((key) => el("tr", { class: differs(key) ? "differs" : "same" },
    el("td", { class: "text" }, key), ...DATA.runs.map((record, index) => el("td", { "data-label": letter(index) }, find(record, key)))))));
  empty(box).append(table);
}

// The layers of all runs by name, in the order of the first run that has them.
function commonLayers(key) {
  const names = [...new Set(DATA.runs.flatMap((record) => record.layers.map((layer) => layer.name)))];
  const tables = DATA.runs.map((record) => new Map(record.layers.map((layer) => [layer.name, layer])));
  return names.map((name) => {
    const layers = tables.map((table) => table.get(name));
    const values = layers.map((layer) => (layer && typeof layer[key] === "number" ? layer[key] : null));
    const changes = values.map((value) => (value === null || values[0] === null ? null : value - values[0]));
    return { name, op: (layers.find(Boolean) || {}).op, values, changes, size: Math.max(...changes.map((change) => Math.abs(change || 0))) };
  });
}

// The number to begin with: the first of the useful ones in which any layer differs.
function comparedKey(columns) {
  const useful = ["snr_entire", "snr_single", "only_snr", "time_us", "host_us", "macs"].filter((key) => columns.some((column) => column.key === key));
  const keys = [...useful, ...columns.map((column) => column.key)];
  return keys.find((key) => commonLayers(key).some((row) => row.size > 0)) || keys[0];
}

function comparison(box, key) {
  const column = BY_KEY[key];
  const rows = commonLayers(key);
  const ordered = byId("compare-order").value === "layers" ? rows : rows.slice().sort((a, b) => b.size - a.size);
  const most = Math.max(...rows.map((row) => row.size), 1e-30);
  const heads = ["layer", ...DATA.runs.map((_, index) => letter(index)), ...DATA.runs.slice(1).map((_, index) => `${letter(index + 1)} \u2212 A`)];
  const body = el("tbody", {});
  for (const row of ordered) {
    const line = el("tr", { "data-layer": row.name, onclick: () => select(row.name) }, el("td", { class: "text" }, row.name));
    row.values.forEach((value, index) => line.append(el("td", { "data-label": heads[index + 1] }, format(column, value))));
    row.changes.slice(1).forEach((change, index) => {
      const better = change && column.good ? ((change > 0) === (column.good === "high") ? "up" : "down") : "";
      const cell = el("td", { class: better, "data-label": heads[1 + DATA.runs.length + index] }, change === null ? "" : (change > 0 ? "+" : "") + format(column, change));
      if (change) bar(cell, Math.abs(change) / most, better === "down" ? "--bad" : better === "up" ? "--good" : "--muted");
      line.append(cell);
    });
    body.append(line);
  }
  const table = el("table", { class: "stack" }, el("thead", {}, el("tr", {}, ...heads.map((text, i) => el("th", { class: i ? "" : "text" }, text)))), body);
  const chart = el("div", {});
  empty(box).append(chart, el("div", { class: "scroll tall" }, table));
  const places = rows.map((row) => ({ name: row.name, op: row.op || "", row }));
  lines(chart, places, DATA.runs.map((_, index) => ({ label: letter(index), column, value: (place) => place.row.values[index] })));
}
