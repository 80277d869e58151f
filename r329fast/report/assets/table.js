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

function layerTable(box, record) {
  const columns = tableColumns(record.layers);
  const table = el("table", { id: "layers" });
  const heads = columns.map((column) => {
    const order = state.sort === column.key ? (state.down ? "descending" : "ascending") : "none";
    const sort = () => {
      if (state.sort === column.key) state.down = !state.down;
      else { state.sort = column.key; state.down = column.form !== "text"; }
      renderTable();
    };
    return el("th", {
      class: column.form === "text" ? "text" : "", "data-key": column.key, "aria-sort": order, tabindex: 0, scope: "col",
      title: column.about, onclick: sort, onkeydown: (event) => { if (event.key === "Enter") sort(); },
    }, column.title, el("small", {}, column.status + (column.unit ? ", " + column.unit : "")));
  });
  table.append(el("thead", {}, el("tr", {}, ...heads)));
  const rows = sorted(record.layers.filter(matches));
  const body = el("tbody", {});
  for (const layer of rows) {
    const row = el("tr", {
      "data-layer": layer.name, tabindex: 0, class: layer.name === state.layer ? "selected" : "", onclick: () => select(layer.name),
      onkeydown: (event) => { if (event.key === "Enter") select(layer.name); },
    });
    for (const column of columns) row.append(el("td", { class: column.form === "text" ? "text" : "" }, format(column, layer[column.key])));
    body.append(row);
  }
  table.append(body);
  const foot = el("tr", {});
  columns.forEach((column, index) => {
    const sums = rows.map((layer) => layer[column.key]).filter((value) => typeof value === "number");
    const text = index === 0 ? `${rows.length} layers` : column.total === "sum" && sums.length ? format(column, sums.reduce((a, b) => a + b, 0)) : "";
    foot.append(el("td", { class: column.form === "text" ? "text" : "" }, text));
  });
  table.append(el("tfoot", {}, foot));
  empty(box).append(table);
}
