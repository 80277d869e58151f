"use strict";
// What to look at first: sentences with links, and what to do. The terminal prints the same list.
function findingsList(box, items) {
  const list = el("ol", { class: "findings" });
  for (const item of items || []) {
    const sentence = el("p", {});
    for (const part of item.parts) {
      if (typeof part === "string") sentence.append(part);
      else if (part.layer) sentence.append(el("a", { href: layerHash(part.layer), "data-go": part.layer }, part.words));
      else sentence.append(el("a", { href: "#" + part.section }, part.words));
    }
    const entry = el("li", { class: item.loss ? "loss" : "", "data-kind": item.kind }, sentence);
    if (item.action) entry.append(el("p", { class: "action" }, item.action));
    list.append(entry);
  }
  empty(box).append(list);
}

const layerHash = (name) => "#layer=" + encodeURIComponent(name);

// The layer that the address names, or null.
function layerOfAddress() {
  if (!location.hash.startsWith("#layer=")) return null;
  try { return decodeURIComponent(location.hash.slice(7)); } catch { return null; }
}

// Keeps the choice in the address without a new entry in the history.
function keepInAddress(name) {
  if (!name || location.hash === layerHash(name)) return;
  try { history.replaceState(null, "", layerHash(name)); } catch { /* a page inside another one */ }
}
