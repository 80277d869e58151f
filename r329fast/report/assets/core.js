"use strict";
// Data, formatting and small DOM helpers. Everything that varies stands in `state`.
const DATA = JSON.parse(document.getElementById("data").textContent);
const COLUMNS = DATA.columns;
const BY_KEY = Object.fromEntries(COLUMNS.map((column) => [column.key, column]));
const state = { run: 0, layer: null, filter: "", sort: null, down: true, group: "main" };
const run = () => DATA.runs[state.run];
const byId = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of children) node.append(child);
  return node;
}

function svg(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function short(value) {
  const size = Math.abs(value);
  for (const [limit, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= limit) return (value / limit).toPrecision(3) + " " + unit;
  }
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}

function format(column, value) {
  if (value === null || value === undefined) return "";
  if (column.form === "text") return String(value);
  if (column.form === "count" || column.form === "bytes") return Math.round(value).toLocaleString("en");
  if (column.form === "share") return value === 0 ? "0" : (value * 100).toPrecision(3) + "%";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : Number(value.toPrecision(4)).toString();
}

const tag = (status) => el("span", { class: "tag " + status }, status);
const has = (key, layers) => (layers || run().layers).some((layer) => layer[key] !== null && layer[key] !== undefined && layer[key] !== "");
const numeric = () => COLUMNS.filter((column) => column.form !== "text" && has(column.key));
const empty = (node) => { while (node.firstChild) node.removeChild(node.firstChild); return node; };

function tip(event, text) {
  const box = byId("tip");
  if (!text) { box.style.display = "none"; return; }
  box.textContent = text;
  box.style.display = "block";
  const x = Math.min(event.clientX + 12, window.innerWidth - box.offsetWidth - 8);
  const y = Math.min(event.clientY + 14, window.innerHeight - box.offsetHeight - 8);
  box.style.left = Math.max(4, x) + "px";
  box.style.top = Math.max(4, y) + "px";
}

function hover(node, text) {
  node.addEventListener("mousemove", (event) => tip(event, text));
  node.addEventListener("mouseleave", () => tip(null, ""));
}

function select(name) {
  state.layer = name;
  keepInAddress(name);
  renderSelection();
}

function options(selectNode, columns, chosen) {
  empty(selectNode);
  for (const column of columns) {
    const unit = column.unit && column.unit !== "bytes" ? ", " + column.unit : "";
    const text = column.title + unit + " (" + column.status + ")";
    const option = el("option", { value: column.key }, text);
    if (column.key === chosen) option.selected = true;
    selectNode.append(option);
  }
}
