"use strict";
// Charts as inline SVG, drawn for the width that their box has.
const MARGIN = { left: 52, right: 10, top: 10, bottom: 34 };

function canvas(box, height) {
  empty(box);
  const width = Math.max(box.clientWidth, 180);
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
  box.append(root);
  return { root, width, height, inner: width - MARGIN.left - MARGIN.right, depth: height - MARGIN.top - MARGIN.bottom };
}

function ticks(low, high, count) {
  const span = high - low || 1;
  const raw = span / count;
  const power = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw);
  const result = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-6; t += step) result.push(Math.abs(t) < step * 1e-9 ? 0 : t);
  return result;
}

function yAxis(area, low, high, unit) {
  const place = (value) => MARGIN.top + area.depth * (1 - (value - low) / (high - low || 1));
  for (const t of ticks(low, high, 4)) {
    const y = place(t);
    area.root.append(svg("line", { class: "grid", x1: MARGIN.left, x2: area.width - MARGIN.right, y1: y, y2: y }));
    area.root.append(svg("text", { class: "muted", x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, short(t)));
  }
  area.root.append(svg("text", { class: "muted", x: 2, y: area.height - 4 }, unit || ""));
  return place;
}

// How many characters all names begin with alike; names on an axis leave them out.
function sharedStart(names) {
  let count = 0;
  while (count < names[0].length - 1 && names.every((name) => name[count] === names[0][count])) count++;
  return count;
}

function xNames(area, layers, step) {
  const y = area.height - MARGIN.bottom + 14;
  const every = Math.max(1, Math.ceil(70 / step));
  const start = layers.length > 3 ? sharedStart(layers.slice(1).map((layer) => layer.name)) : 0;
  layers.forEach((layer, index) => {
    if (index % every !== 0 || (index + every > layers.length && index !== 0 && step * (layers.length - index) < 60)) return;
    const own = start > 4 && layer.name.length > 11 ? "\u2026" + layer.name.slice(start) : layer.name;
    const name = own.length > 11 ? own.slice(0, 10) + "\u2026" : own;
    area.root.append(svg("text", { class: "muted", x: MARGIN.left + step * index, y }, name));
  });
}

function hits(area, layers, step, text) {
  layers.forEach((layer, index) => {
    const x = MARGIN.left + step * index;
    const base = { x, y: MARGIN.top, width: step, height: area.depth };
    if (layer.name === state.layer) area.root.append(svg("rect", { ...base, class: "mark" }));
    const rect = svg("rect", { ...base, class: "hit", "data-layer": layer.name });
    hover(rect, layer.name + " (" + layer.op + ")\n" + text(layer));
    rect.addEventListener("click", () => select(layer.name));
    area.root.append(rect);
  });
}

// Bars of one or two columns side by side, a place per layer.
function bars(box, layers, keys) {
  const columns = keys.map((key) => BY_KEY[key]).filter((column) => column && has(column.key, layers));
  if (!columns.length) { empty(box).append(el("p", { class: "note" }, "not in this record")); return; }
  const area = canvas(box, 210);
  const values = layers.flatMap((layer) => columns.map((column) => layer[column.key] || 0));
  const low = Math.min(0, ...values), high = Math.max(...values, low + 1e-12);
  const place = yAxis(area, low, high, columns[0].unit);
  const step = area.inner / layers.length;
  const wide = Math.max((step * 0.8) / columns.length, 0.8);
  layers.forEach((layer, index) => columns.forEach((column, which) => {
    const value = layer[column.key];
    if (value === null || value === undefined) return;
    const y0 = place(0), y = place(value);
    area.root.append(svg("rect", {
      class: which ? "second" : "first", x: MARGIN.left + step * index + step * 0.1 + which * wide,
      y: Math.min(y, y0), width: wide, height: Math.max(Math.abs(y - y0), value ? 0.7 : 0),
    }));
  }));
  xNames(area, layers, step);
  hits(area, layers, step, (layer) => columns.map((c) => `${c.title}: ${format(c, layer[c.key])} ${c.unit} (${c.status})`).join("\n"));
}

// Lines of up to two columns along the network.
function lines(box, layers, series) {
  const area = canvas(box, 210);
  const values = series.flatMap((s) => layers.map((layer) => s.value(layer)).filter((v) => v !== null && v !== undefined));
  if (!values.length) { empty(box).append(el("p", { class: "note" }, "not in this record")); return; }
  let low = Math.min(...values), high = Math.max(...values);
  const pad = (high - low) * 0.06 || 1e-6;
  low -= pad; high += pad;
  const place = yAxis(area, low, high, series[0].column.unit);
  const step = area.inner / layers.length;
  series.forEach((s, which) => {
    let path = "", pen = false;
    layers.forEach((layer, index) => {
      const value = s.value(layer);
      if (value === null || value === undefined) { return; }
      path += `${pen ? "L" : "M"}${MARGIN.left + step * (index + 0.5)} ${place(value)}`;
      pen = true;
    });
    area.root.append(svg("path", { class: "line" + (which % 8 + 1), d: path }));
  });
  xNames(area, layers, step);
  hits(area, layers, step, (layer) => series.map((s) => `${s.label}: ${format(s.column, s.value(layer))} ${s.column.unit}`).join("\n"));
}

function roofline(box, record) {
  const hardware = record.hardware && record.hardware.figures;
  const layers = record.layers.filter((layer) => layer.macs && layer.cycles && layer.ddr_read + layer.ddr_write > 0);
  if (!hardware || !layers.length) { empty(box).append(el("p", { class: "note" }, "not in this record")); return; }
  const peak = hardware.macs_per_cycle.value * hardware.clock_mhz.value * 1e6;
  const band = hardware.ddr_mb_per_second.value * 1e6 * hardware.ddr_efficiency.value;
  const points = layers.map((layer) => ({
    layer, x: layer.macs / (layer.ddr_read + layer.ddr_write), y: layer.macs / (layer.time_us / 1e6),
  }));
  const area = canvas(box, 260);
  const xs = points.map((p) => p.x), ys = points.map((p) => p.y);
  const knee = peak / band;
  const x0 = Math.log10(Math.min(...xs, knee) / 2), x1 = Math.log10(Math.max(...xs, knee) * 2);
  const y0 = Math.log10(Math.min(...ys, peak / 20) / 2), y1 = Math.log10(peak * 2);
  const px = (v) => MARGIN.left + area.inner * (Math.log10(v) - x0) / (x1 - x0);
  const py = (v) => MARGIN.top + area.depth * (1 - (Math.log10(v) - y0) / (y1 - y0));
  for (let p = Math.ceil(y0); p <= y1; p++) {
    const y = py(Math.pow(10, p));
    area.root.append(svg("line", { class: "grid", x1: MARGIN.left, x2: area.width - MARGIN.right, y1: y, y2: y }));
    area.root.append(svg("text", { class: "muted", x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, short(Math.pow(10, p))));
  }
  for (let p = Math.ceil(x0); p <= x1; p++) {
    const x = px(Math.pow(10, p));
    area.root.append(svg("line", { class: "grid", x1: x, x2: x, y1: MARGIN.top, y2: MARGIN.top + area.depth }));
    area.root.append(svg("text", { class: "muted", x, y: area.height - MARGIN.bottom + 14, "text-anchor": "middle" }, short(Math.pow(10, p))));
  }
  const left = Math.pow(10, x0), right = Math.pow(10, x1);
  const bottom = Math.pow(10, y0);
  const startX = Math.max(left, bottom / band);
  area.root.append(svg("path", { class: "roof", d: `M${px(startX)} ${py(startX * band)}L${px(knee)} ${py(peak)}L${px(right)} ${py(peak)}` }));
  area.root.append(svg("text", { class: "muted", x: area.width - MARGIN.right, y: py(peak) - 5, "text-anchor": "end" }, short(peak) + "MAC/s"));
  area.root.append(svg("text", { class: "muted", x: area.width - MARGIN.right, y: area.height - 4, "text-anchor": "end" }, "MACs per byte of DDR traffic"));
  area.root.append(svg("text", { class: "muted", x: 2, y: area.height - 4 }, "MAC/s"));
  for (const { layer, x, y } of points) {
    const chosen = layer.name === state.layer ? " selected" : "";
    const dot = svg("circle", { class: `dot ${layer.bound === "compute" ? "first" : "second"}${chosen}`, cx: px(x), cy: py(y), r: 5, "data-layer": layer.name });
    hover(dot, `${layer.name} (${layer.op}, bound by ${layer.bound})\n${format(BY_KEY.intensity, x)} MACs per byte\n${short(y)}MAC/s (estimate)`);
    dot.addEventListener("click", () => select(layer.name));
    area.root.append(dot);
  }
}

// Float and integer histograms of a layer over output steps.
function histogram(box, entry) {
  if (!entry) { empty(box).append(el("p", { class: "note" }, "no histogram of this layer in the record")); return; }
  const area = canvas(box, 220);
  const series = [];
  if (entry.floats) series.push({ name: "floats", first: entry.float_first, values: entry.floats });
  if (entry.integers) series.push({ name: "integers", first: entry.first, values: entry.integers });
  const low = Math.min(...series.map((s) => s.first));
  const high = Math.max(...series.map((s) => s.first + s.values.length * entry.bin));
  // square root: rare values at the ends, which matter here, stay visible
  const root = (v) => Math.sqrt(v);
  const most = Math.max(...series.flatMap((s) => s.values)) || 1;
  const x = (steps) => MARGIN.left + area.inner * (steps - low) / (high - low);
  const y = (v) => MARGIN.top + area.depth * (1 - root(v) / root(most));
  for (const share of [0.001, 0.01, 0.1, 0.5].filter((s) => s <= most)) {
    area.root.append(svg("line", { class: "grid", x1: MARGIN.left, x2: area.width - MARGIN.right, y1: y(share), y2: y(share) }));
    area.root.append(svg("text", { class: "muted", x: MARGIN.left - 6, y: y(share) + 4, "text-anchor": "end" }, share * 100 + "%"));
  }
  for (const s of series) {
    const isFloat = s.name === "floats";
    let path = `M${x(s.first)} ${y(0)}`;
    s.values.forEach((value, index) => {
      const a = s.first + index * entry.bin, b = a + entry.bin;
      if (isFloat) path += `L${x(a)} ${y(value)}L${x(b)} ${y(value)}`;
      else {
        const rect = svg("rect", { class: "first", "fill-opacity": 0.55, x: x(a) + 0.3, y: y(value), width: Math.max(x(b) - x(a) - 0.6, 0.6), height: y(0) - y(value) });
        hover(rect, `steps ${a} to ${b - 1}: ${(value * 100).toPrecision(3)}%`);
        area.root.append(rect);
      }
    });
    if (isFloat) area.root.append(svg("path", { class: "line2", d: path + `L${x(s.first + s.values.length * entry.bin)} ${y(0)}` }));
  }
  if (entry.floats) area.root.append(area.root.querySelector(".line2"));
  for (const t of ticks(low, high, Math.max(3, Math.floor(area.inner / 90)))) {
    area.root.append(svg("text", { class: "muted", x: x(t), y: area.height - MARGIN.bottom + 14, "text-anchor": "middle" }, t));
  }
  area.root.append(svg("text", { class: "muted", x: area.width - MARGIN.right, y: area.height - 4, "text-anchor": "end" }, "output steps (1 step = " + (1 / entry.scale).toPrecision(3) + ")"));
}
