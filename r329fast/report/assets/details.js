"use strict";
// All that is known of the chosen layer.
function details(box, record) {
  empty(box);
  const index = record.layers.findIndex((item) => item.name === state.layer);
  if (index < 0) { box.append(el("p", { class: "note" }, "Choose a layer in the table, the drawing or a chart.")); return; }
  const layer = record.layers[index];
  const step = (offset, text) => {
    const other = record.layers[index + offset];
    return el("button", { type: "button", class: "step", disabled: other ? null : "", title: other ? other.name : "", onclick: () => other && select(other.name) }, text);
  };
  box.append(el("div", { class: "tools" }, step(-1, "\u2190 previous"), step(1, "next \u2192"),
    el("a", { href: layerHash(layer.name), class: "keep", title: "the address of this page with this choice" }, "link")));
  box.append(el("h3", { id: "chosen" }, layer.name));
  const known = (record.details || {})[layer.name];
  if (known) {
    attributes(box, layer, known);
    tensors(box, known);
    if (known.weights) weights(box, known.weights);
  }
  const chart = el("div", {});
  const legend = el("div", { class: "legend" }, el("span", {}, el("i", {}), "integers ", tag("exact")), el("span", {}, el("i", { class: "two" }), "float network, at the same scale ", tag("exact")));
  box.append(el("h3", {}, "Values"), legend, chart, el("h3", {}, "Numbers"), numbers(layer));
  histogram(chart, record.histograms && record.histograms[layer.name]);
}

function fact(list, title, value, about) {
  list.append(el("div", { title: about || "" }, el("dt", {}, title), el("dd", {}, value)));
}

function attributes(box, layer, known) {
  const list = el("dl", { class: "facts", id: "attributes" });
  fact(list, "type", layer.op);
  if (layer.act) fact(list, "activation", layer.act, "fused into the layer");
  for (const [key, value] of Object.entries(known.attributes)) fact(list, key.replace(/_/g, " "), Array.isArray(value) ? value.join(" x ") : String(value));
  for (const item of known.multipliers) {
    const span = (pair) => (pair[0] === pair[1] ? String(pair[0]) : `${pair[0]} to ${pair[1]}`);
    const each = item.count > 1 ? `, ${item.count} channels` : "";
    fact(list, "M", span(item.m) + each, "multiplier of " + item.op);
    fact(list, "shift", span(item.shift), "the sum times M, shifted right by this many bits");
  }
  if (known.weights) fact(list, "weights", known.weights.shape.join(" x ") + " " + known.weights.dtype);
  box.append(el("h3", {}, "Attributes ", tag("exact")), list);
}

function tensors(box, known) {
  const heads = ["", "tensor", "shape", "dtype", "scale", "zero point"];
  const body = el("tbody", {});
  for (const [kind, list] of [["in", known.inputs], ["out", known.outputs]]) {
    for (const item of list) {
      const name = item.layer && item.layer !== state.layer ? el("a", { href: layerHash(item.layer) }, item.name) : item.name;
      const texts = [kind, name, item.shape.join("x"), item.dtype, Number(item.scale.toPrecision(6)), item.zero_point];
      body.append(el("tr", {}, ...texts.map((text, i) => el("td", { class: i < 4 ? "text" + (i === 1 ? " long" : "") : "", "data-label": heads[i] || "tensor" }, text))));
    }
  }
  const table = el("table", { class: "stack tensors" }, el("thead", {}, el("tr", {}, ...heads.map((text, i) => el("th", { class: i < 4 ? "text" : "" }, text)))), body);
  box.append(el("h3", {}, "Tensors ", tag("exact")), el("div", { class: "scroll" }, table), el("p", { class: "note" }, "real value = (integer + zero point) / scale"));
}

// A bar from the lowest to the highest weight of every output channel.
function weights(box, entry) {
  const count = entry.low.length, each = entry.channels_per_entry;
  box.append(el("h3", {}, "Weights by output channel ", tag("exact")));
  const chart = el("div", { id: "weights-chart" });
  box.append(chart);
  const area = canvas(chart, 150);
  const low = Math.min(entry.least, 0), high = Math.max(entry.most, 1);
  const place = yAxis(area, low, high, "integer");
  const step = area.inner / count;
  for (let i = 0; i < count; i++) {
    const y = place(entry.high[i]), depth = Math.max(place(entry.low[i]) - y, 1);
    const bar = svg("rect", { class: "channel", x: MARGIN.left + step * i, y, width: Math.max(step * 0.8, 0.6), height: depth });
    const channels = each === 1 ? "channel " + i : `channels ${i * each} to ${(i + 1) * each - 1}`;
    hover(bar, `${channels}: ${entry.low[i]} to ${entry.high[i]}`);
    area.root.append(bar);
  }
  area.root.append(svg("text", { class: "muted", x: MARGIN.left, y: area.height - MARGIN.bottom + 14 }, "0"));
  area.root.append(svg("text", { class: "muted", x: area.width - MARGIN.right, y: area.height - MARGIN.bottom + 14, "text-anchor": "end" }, String(count * each - 1)));
}

function numbers(layer) {
  const list = el("dl", { class: "facts" });
  for (const column of COLUMNS) {
    const value = layer[column.key];
    if (value === null || value === undefined || value === "" || ["name", "op", "act"].includes(column.key)) continue;
    list.append(el("div", { title: column.about }, el("dt", {}, column.title + " ", column.form === "text" && column.status === "exact" ? "" : tag(column.status)), el("dd", {}, format(column, value) + (column.unit && column.form !== "share" ? " " + column.unit : ""))));
  }
  return list;
}
