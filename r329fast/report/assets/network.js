"use strict";
// The network drawn from top to bottom; a box per layer, its colour the chosen number.
function layout(record) {
  const names = record.layers.map((layer) => layer.name);
  const index = Object.fromEntries(names.map((name, i) => [name, i]));
  const before = names.map(() => []);
  for (const [from, to] of record.network.edges) before[index[to]].push(index[from]);
  const rank = names.map(() => 0), lane = names.map(() => 0);
  const used = [];
  names.forEach((name, i) => {
    for (const parent of before[i]) rank[i] = Math.max(rank[i], rank[parent] + 1);
    const taken = (used[rank[i]] = used[rank[i]] || new Set());
    const wish = before[i].length ? Math.min(...before[i].map((parent) => lane[parent])) : 0;
    let place = wish;
    while (taken.has(place)) place++;
    taken.add(place);
    lane[i] = place;
  });
  return { index, rank, lane, ranks: Math.max(...rank) + 1, lanes: Math.max(...lane) + 1 };
}

function network(box, record, key) {
  empty(box);
  const { index, rank, lane, ranks, lanes } = layout(record);
  const column = BY_KEY[key];
  const values = record.layers.map((layer) => layer[key]);
  const known = values.filter((value) => typeof value === "number");
  const low = Math.min(...known), high = Math.max(...known);
  const turned = column.good === "high";
  const gutter = 46, wide = Math.min(420, Math.max(140, (box.clientWidth - gutter - 20) / lanes - 12)), tall = 24, gap = 12;
  const width = Math.max(lanes * (wide + 12) + gutter + 10, 200), height = ranks * (tall + gap) + 10;
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  const x = (i) => 5 + lane[i] * (wide + 12), y = (i) => 5 + rank[i] * (tall + gap);
  for (const [from, to] of record.network.edges) {
    const a = index[from], b = index[to];
    let d;
    if (rank[b] === rank[a] + 1 && lane[a] === lane[b]) {
      d = `M${x(a) + wide / 2} ${y(a) + tall}L${x(b) + wide / 2} ${y(b)}`;
    } else if (rank[b] === rank[a] + 1) {
      const middle = y(a) + tall + gap / 2;
      d = `M${x(a) + wide / 2} ${y(a) + tall}C${x(a) + wide / 2} ${middle} ${x(b) + wide / 2} ${middle} ${x(b) + wide / 2} ${y(b)}`;
    } else {
      const side = Math.max(x(a), x(b)) + wide + Math.min(12 + 3 * (rank[b] - rank[a]), gutter - 6);
      d = `M${x(a) + wide} ${y(a) + tall / 2}C${side} ${y(a) + tall / 2} ${side} ${y(b) + tall / 2} ${x(b) + wide} ${y(b) + tall / 2}`;
    }
    root.append(svg("path", { class: "edge", d }));
  }
  record.layers.forEach((layer, i) => {
    const group = svg("g", { class: "node" + (layer.name === state.layer ? " selected" : ""), tabindex: 0, role: "button", "data-layer": layer.name, "aria-label": layer.name });
    const value = values[i];
    let part = typeof value === "number" && high > low ? (value - low) / (high - low) : 0;
    // strong where it needs a look: low values of a number that should be high
    if (turned && typeof value === "number") part = 1 - part;
    const strong = Math.round(part * 55);
    const rect = svg("rect", { x: x(i), y: y(i), width: wide, height: tall, rx: 4 });
    rect.style.fill = `color-mix(in srgb, var(--heat) ${strong}%, var(--panel))`;
    group.append(rect);
    const fit = Math.floor((wide - 62) / 6.4);
    const label = layer.name.length > fit ? layer.name.slice(0, Math.max(fit - 1, 3)) + "\u2026" : layer.name;
    const name = svg("text", { x: x(i) + 7, y: y(i) + 16 }, label);
    const number = svg("text", { x: x(i) + wide - 6, y: y(i) + 16, "text-anchor": "end" }, typeof value === "number" ? (column.form === "share" ? format(column, value) : short(value)) : "");
    group.append(name, number);
    hover(group, `${layer.name}\n${layer.op}${layer.act ? " + " + layer.act : ""} ${layer.shape || ""}\n${column.title}: ${format(column, value)} ${column.unit} (${column.status})`);
    group.addEventListener("click", () => select(layer.name));
    group.addEventListener("keydown", (event) => { if (event.key === "Enter") select(layer.name); });
    root.append(group);
  });
  box.append(root);
  const legend = empty(byId("network-legend"));
  legend.append(format(column, low) + " ", el("span", { class: turned ? "ramp turned" : "ramp" }), " " + format(column, high) + " " + column.unit + " ", tag(column.status));
}
