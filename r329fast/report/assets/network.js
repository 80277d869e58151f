"use strict";
// The network as a graph from top to bottom; a box per layer or folded block, its colour the
// chosen number.
const BOX = { width: 208, height: 44, most: 3 };
const FOLDED_FROM = 40; // layers: a larger network opens with its blocks folded
const graphs = new WeakMap(); // record -> blocks, which are folded, the last layout
const SHORT_TYPES = { Convolution: "Conv", DepthwiseConv: "DW conv", FullyConnected: "FC", ConvTranspose: "Deconv" };
const pen = document.createElement("canvas").getContext("2d");

function graphOf(record) {
  if (!graphs.has(record)) {
    const blocks = blocksOf(record.layers.map((layer) => layer.name), record.network.edges);
    const folded = new Set(record.layers.length > FOLDED_FROM ? blocks.map((block) => block.id) : []);
    const inside = new Map(blocks.flatMap((block) => block.members.map((name) => [name, block])));
    graphs.set(record, { blocks, folded, inside, layout: null, zoom: null });
  }
  return graphs.get(record);
}

// The text, its middle left out where it is wider than `width`.
function fitText(text, width, bold) {
  pen.font = (bold ? "600 " : "") + "11px system-ui, sans-serif";
  if (pen.measureText(text).width <= width) return text;
  let keep = text.length - 1;
  while (keep > 2) {
    const head = Math.ceil(keep / 2), cut = text.slice(0, head) + "\u2026" + text.slice(text.length - (keep - head));
    if (pen.measureText(cut).width <= width) return cut;
    keep--;
  }
  return text.slice(0, 1) + "\u2026";
}

// Kernel, stride, groups and output of a layer, in one short line.
function attributesLine(record, layer) {
  const found = (record.details && record.details[layer.name] && record.details[layer.name].attributes) || {};
  const pair = (value) => (Array.isArray(value) ? value.join("x") : value);
  const words = [];
  if (found.kernel) words.push(pair(found.kernel));
  if (found.stride && String(pair(found.stride)) !== "1x1") words.push("/" + (new Set([].concat(found.stride)).size === 1 ? [].concat(found.stride)[0] : pair(found.stride)));
  if (found.group && found.group !== 1) words.push("g" + found.group);
  if (layer.shape) words.push("\u2192 " + layer.shape);
  if (layer.act) words.push(layer.act);
  return [SHORT_TYPES[layer.op] || layer.op, ...words].join(" ");
}

function visibleGraph(record) {
  const { blocks, folded, inside } = graphOf(record);
  const shownAs = (name) => (inside.has(name) && folded.has(inside.get(name).id) ? inside.get(name).id : name);
  const nodes = [], have = new Set();
  record.layers.forEach((layer, order) => {
    const id = shownAs(layer.name);
    if (have.has(id)) return;
    have.add(id);
    nodes.push({ id, width: BOX.width, height: BOX.height, order, layer: id === layer.name ? layer : null, block: id === layer.name ? null : inside.get(layer.name) });
  });
  const edges = record.network.edges.map(([from, to]) => [shownAs(from), shownAs(to)]);
  return { nodes, edges, blocks };
}

// A block's number: the sum where the column has one, else that of its worst layer.
function valueOf(record, node, column) {
  if (node.layer) return node.layer[column.key];
  const members = new Set(node.block.members);
  const values = record.layers.filter((layer) => members.has(layer.name)).map((layer) => layer[column.key]).filter((value) => typeof value === "number");
  if (!values.length) return null;
  if (column.total === "sum") return values.reduce((a, b) => a + b, 0);
  return column.good === "high" ? Math.min(...values) : Math.max(...values);
}

function network(box, record, key) {
  const view = graphOf(record), top = box.scrollTop, left = box.scrollLeft;
  if (!view.layout) {
    view.shown = visibleGraph(record);
    view.layout = layered(view.shown.nodes, view.shown.edges);
  }
  const { nodes } = view.shown, { place, paths, width, height } = view.layout;
  const column = BY_KEY[key];
  const values = nodes.map((node) => valueOf(record, node, column));
  const known = values.filter((value) => typeof value === "number");
  const low = Math.min(...known), high = Math.max(...known);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "the network's layers" });
  for (const block of view.blocks) if (!view.folded.has(block.id)) root.append(frame(box, record, block, place));
  for (const path of paths) root.append(svg("path", { class: "edge", d: path.d }));
  nodes.forEach((node, i) => root.append(nodeBox(box, record, node, place[node.id], { column, value: values[i], low, high })));
  empty(box).append(root);
  view.size = { width, height };
  if (view.zoom === null) view.zoom = fitZoom(box, view, false);
  applyZoom(box, view);
  box.scrollTop = top;
  box.scrollLeft = left;
  const legend = empty(byId("network-legend"));
  const turned = column.good === "high";
  if (known.length) legend.append(format(column, low) + " ", el("span", { class: turned ? "ramp turned" : "ramp" }), " " + format(column, high) + " " + column.unit + " ", tag(column.status));
  show("network-fold", view.blocks.length > 0);
  byId("network-fold").textContent = view.folded.size ? "Unfold all" : "Fold blocks";
}

// Around an unfolded block: a frame with a button that folds it.
function frame(box, record, block, place) {
  const boxes = block.members.map((name) => place[name]).filter(Boolean);
  const x = Math.min(...boxes.map((b) => b.x)) - 6, y = Math.min(...boxes.map((b) => b.y)) - 8;
  const right = Math.max(...boxes.map((b) => b.x + b.width)) + 6, bottom = Math.max(...boxes.map((b) => b.y + b.height)) + 8;
  const group = svg("g", { class: "frame", tabindex: 0, role: "button", "data-block": block.id, "aria-label": "fold " + block.members.length + " layers" });
  group.append(svg("rect", { x, y, width: right - x, height: bottom - y, rx: 8 }));
  group.append(svg("text", { class: "muted", x: right - 12, y: y + 8 }, "\u2212"));
  hover(group, "fold these " + block.members.length + " layers");
  act(group, () => fold(box, record, block.id, true));
  return group;
}

function nodeBox(box, record, node, at, { column, value, low, high }) {
  const { layer, block } = node;
  const group = svg("g", { class: "node" + (layer && layer.name === state.layer ? " selected" : "") + (block ? " folded" : ""), tabindex: 0, role: "button" });
  group.setAttribute(layer ? "data-layer" : "data-block", layer ? layer.name : block.id);
  group.setAttribute("aria-label", layer ? layer.name : block.members.length + " layers from " + block.members[0]);
  const turned = column.good === "high";
  let part = typeof value === "number" && high > low ? (value - low) / (high - low) : 0;
  // strong where it needs a look: low values of a number that should be high
  if (turned && typeof value === "number") part = 1 - part;
  const rect = svg("rect", { class: "body", x: at.x, y: at.y, width: at.width, height: at.height, rx: 5 });
  rect.style.fill = `color-mix(in srgb, var(--heat) ${Math.round(part * 55)}%, var(--panel))`;
  if (block) group.append(svg("rect", { class: "back", x: at.x + 4, y: at.y + 4, width: at.width, height: at.height, rx: 5 }));
  group.append(rect);
  const number = typeof value === "number" ? (column.form === "share" ? format(column, value) : short(value)) : "";
  pen.font = "11px system-ui, sans-serif";
  const room = at.width - 20 - pen.measureText(number).width;
  const title = layer ? layer.name : block.members[0] + " \u2026 " + block.members[block.members.length - 1];
  const second = layer ? attributesLine(record, layer) : `${block.members.length} layers, click to unfold`;
  group.append(svg("text", { class: "name", x: at.x + 7, y: at.y + 17 }, fitText(title, room, true)));
  if (number) group.append(svg("text", { x: at.x + at.width - 7, y: at.y + 17, "text-anchor": "end" }, number));
  group.append(svg("text", { class: "muted", x: at.x + 7, y: at.y + 34 }, fitText(second, at.width - 14)));
  hover(group, `${title}\n${second}\n${column.title}: ${format(column, value)} ${column.unit} (${column.status})`);
  act(group, () => (layer ? select(layer.name) : fold(box, record, block.id, false)));
  return group;
}

function act(node, action) {
  node.addEventListener("click", action);
  node.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); action(); } });
}

function relayout(record) {
  graphOf(record).layout = null;
  tip(null, "");
  network(byId("network-box"), record, byId("network-key").value);
}

function fold(box, record, id, folded) {
  const view = graphOf(record);
  if (folded) view.folded.add(id); else view.folded.delete(id);
  relayout(record);
}

function foldAll(record) {
  const view = graphOf(record);
  if (view.folded.size) view.folded.clear();
  else for (const block of view.blocks) view.folded.add(block.id);
  relayout(record);
}

// The chosen layer's block is unfolded and its box brought into view.
function reveal(box, record) {
  const view = graphOf(record), block = view.inside.get(state.layer);
  if (block && view.folded.delete(block.id)) view.layout = null;
  return () => {
    const at = view.layout && view.layout.place[state.layer];
    if (!at) return;
    const y = at.y * view.zoom, x = at.x * view.zoom;
    if (y < box.scrollTop || y + at.height * view.zoom > box.scrollTop + box.clientHeight) box.scrollTop = y - box.clientHeight / 3;
    if (x < box.scrollLeft || x + at.width * view.zoom > box.scrollLeft + box.clientWidth) box.scrollLeft = x - box.clientWidth / 3;
  };
}

// --- zoom ---------------------------------------------------------------------------------------

function fitZoom(box, view, whole) {
  const across = (box.clientWidth - 2) / view.size.width, down = (box.clientHeight - 2) / view.size.height;
  const wished = whole ? Math.min(across, down) : Math.min(across, 1);
  return Math.min(Math.max(wished, whole ? 0.02 : 0.45), BOX.most);
}

function applyZoom(box, view) {
  const root = box.querySelector("svg");
  root.setAttribute("width", Math.max(view.size.width * view.zoom, 1));
  root.setAttribute("height", Math.max(view.size.height * view.zoom, 1));
}

function zoomTo(box, record, zoom) {
  const view = graphOf(record);
  const x = (box.scrollLeft + box.clientWidth / 2) / view.zoom, y = (box.scrollTop + box.clientHeight / 2) / view.zoom;
  view.zoom = Math.min(Math.max(zoom, 0.02), BOX.most);
  applyZoom(box, view);
  box.scrollLeft = x * view.zoom - box.clientWidth / 2;
  box.scrollTop = y * view.zoom - box.clientHeight / 2;
}

function startNetwork(box) {
  byId("network-in").addEventListener("click", () => zoomTo(box, run(), graphOf(run()).zoom * 1.3));
  byId("network-out").addEventListener("click", () => zoomTo(box, run(), graphOf(run()).zoom / 1.3));
  byId("network-fit").addEventListener("click", () => zoomTo(box, run(), fitZoom(box, graphOf(run()), true)));
  byId("network-fold").addEventListener("click", () => foldAll(run()));
  box.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // a plain wheel scrolls
    event.preventDefault();
    zoomTo(box, run(), graphOf(run()).zoom * Math.exp(-event.deltaY / 300));
  }, { passive: false });
  let held = null;
  box.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && !event.target.closest(".node, .frame text")) held = { x: event.clientX, y: event.clientY };
  });
  window.addEventListener("pointermove", (event) => {
    if (!held) return;
    box.scrollLeft -= event.clientX - held.x;
    box.scrollTop -= event.clientY - held.y;
    held = { x: event.clientX, y: event.clientY };
  });
  window.addEventListener("pointerup", () => { held = null; });
}
