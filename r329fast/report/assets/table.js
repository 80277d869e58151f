"use strict";
// The layer table: sorted, filtered, a group of columns at a time.
const GROUP_NAMES = { main: "main", counters: "counters", data: "data", cost: "cost", error: "error", sensitivity: "sensitivity", all: "all" };

function tableColumns(layers) {
  const always = ["name", "op"];
  return COLUMNS.filter((column) => {
    if (!has(column.key, layers)) return false;
    if (always.includes(column.key) || state.group === "all") return true;
    if (state.group === "main") return !column.wide;
    if (column.key === "act" || column.key === "shape" || column.key === "path") return state.group === "counters";
    return column.group === state.group;
  });
}

function sorted(layers) {
  if (!state.sort) return layers;
  const key = state.sort, sign = state.down ? -1 : 1;
  const rank = (v) => (v === null || v === undefined ? null : v);
  return layers.slice().sort((a, b) => {
    const x = rank(a[key]), y = rank(b[key]);
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
  });
}

function matches(layer) {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${layer.name} ${layer.op} ${layer.act || ""} ${layer.bound || ""} ${layer.path || ""}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

// A bar behind a cell's number: `share` of the cell's width.
function bar(cell, share, colour) {
  cell.classList.add("bar");
  cell.style.setProperty("--share", (100 * Math.min(Math.max(share, 0), 1)).toFixed(1) + "%");
  cell.style.setProperty("--bar", `var(${colour})`);
}

function sortBy(key) {
  if (state.sort === key) state.down = !state.down;
  else { state.sort = key; state.down = BY_KEY[key].form !== "text"; }
  renderTable();
}

// The table as it stands (order, filter, columns): titles, then plain values.
function tableValues(record) {
  const columns = tableColumns(record.layers);
  const rows = sorted(record.layers.filter(matches)).map((layer) => columns.map((column) => (layer[column.key] === null || layer[column.key] === undefined ? "" : layer[column.key])));
  return [columns.map((column) => column.key), ...rows];
}

// A text that a sheet would take for a formula gets a quote in front.
const cellText = (value) => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? "'" + value : String(value));

function asText(values, separator) {
  const quoted = (text) => (text.includes(separator) || /["\n\r]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text);
  return values.map((row) => row.map((value) => quoted(cellText(value))).join(separator)).join("\n") + "\n";
}

function said(button, word) {
  const before = button.dataset.text || (button.dataset.text = button.textContent);
  button.textContent = word;
  setTimeout(() => { button.textContent = before; }, 1500);
}

async function copyTable(button) {
  const text = asText(tableValues(run()), "\t");
  try {
    await navigator.clipboard.writeText(text);
    said(button, "copied");
  } catch {
    // without the clipboard's permission: by a selection
    const area = el("textarea", { class: "offscreen" });
    area.value = text;
    document.body.append(area);
    area.select();
    said(button, document.execCommand("copy") ? "copied" : "not allowed here");
    area.remove();
  }
}

function downloadTable() {
  const address = URL.createObjectURL(new Blob([asText(tableValues(run()), ",")], { type: "text/csv" }));
  el("a", { href: address, download: "layers.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function layerTable(box, record) {
  const columns = tableColumns(record.layers);
  const table = el("table", { id: "layers", class: "stack" });
  const heads = columns.map((column) => {
    const order = state.sort === column.key ? (state.down ? "descending" : "ascending") : "none";
    const sort = () => sortBy(column.key);
    return el("th", {
      class: column.form === "text" ? "text" : "", "data-key": column.key, "aria-sort": order, tabindex: 0, scope: "col",
      title: column.about, onclick: sort, onkeydown: (event) => { if (event.key === "Enter") sort(); },
    }, column.title, el("small", {}, column.status + (column.unit ? ", " + column.unit : "")));
  });
  table.append(el("thead", {}, el("tr", {}, ...heads)));
  const rows = sorted(record.layers.filter(matches));
  const body = el("tbody", {});
  const largest = columns.map((column) => Math.max(0, ...record.layers.map((layer) => Math.abs(typeof layer[column.key] === "number" ? layer[column.key] : 0))));
  for (const layer of rows) {
    const row = el("tr", {
      "data-layer": layer.name, tabindex: 0, class: layer.name === state.layer ? "selected" : "", onclick: () => select(layer.name),
      onkeydown: (event) => { if (event.key === "Enter") select(layer.name); },
    });
    columns.forEach((column, index) => {
      const value = layer[column.key];
      const cell = el("td", { class: column.form === "text" ? "text" : "", "data-label": index ? column.title : null }, format(column, value));
      if (typeof value === "number" && largest[index] > 0) bar(cell, Math.abs(value) / largest[index], column.status === "estimate" ? "--second" : "--accent");
      row.append(cell);
    });
    body.append(row);
  }
  table.append(body);
  const foot = el("tr", {});
  columns.forEach((column, index) => {
    const sums = rows.map((layer) => layer[column.key]).filter((value) => typeof value === "number");
    const text = index === 0 ? `${rows.length} layers` : column.total === "sum" && sums.length ? format(column, sums.reduce((a, b) => a + b, 0)) : "";
    foot.append(el("td", { class: (column.form === "text" ? "text" : "") + (text ? "" : " none"), "data-label": index ? column.title : null }, text));
  });
  table.append(el("tfoot", {}, foot));
  empty(box).append(table);
  options(byId("sort"), columns, state.sort);
  byId("sort").prepend(el("option", { value: "", ...(state.sort ? {} : { selected: "" }) }, "execution order"));
}
