"use strict";
// Feature maps over the network: a box per tensor, from the layer that makes it to the last reader.
function memory(box, note, record) {
  const found = record.memory, layers = record.layers;
  if (!found || !layers.length) { empty(box); return; }
  const area = canvas(box, 260);
  const place = yAxis(area, 0, Math.max(found.arena, found.peak, 1), "bytes");
  const step = area.inner / layers.length;
  const x = (index) => MARGIN.left + step * index;
  for (const item of found.tensors) {
    const y = place(item.offset + item.bytes), last = Math.max(item.last, item.first);
    const rect = svg("rect", {
      class: "life" + (item.layer === state.layer ? " selected" : ""), x: x(item.first), y, "data-layer": item.layer,
      width: Math.max(x(last + 1) - x(item.first) - 0.5, 0.5), height: Math.max(place(item.offset) - y - 0.5, 0.5),
    });
    hover(rect, `${item.layer}: ${item.bytes.toLocaleString("en")} bytes\nalive from ${layers[item.first].name} to ${layers[last].name}`);
    rect.addEventListener("click", () => select(item.layer));
    area.root.append(rect);
  }
  let path = "";
  found.alive.forEach((bytes, index) => { path += `${index ? "L" : "M"}${x(index)} ${place(bytes)}L${x(index + 1)} ${place(bytes)}`; });
  area.root.append(svg("path", { class: "line2", d: path }));
  xNames(area, layers, step);
  const at = found.alive.indexOf(found.peak);
  empty(note).append(`Most are alive in `, el("a", { href: layerHash(layers[at].name) }, layers[at].name), `: ${found.peak.toLocaleString("en")} bytes for one image. Boxes stand where this simulator puts them (${found.arena.toLocaleString("en")} bytes); the vendor's builder may place them elsewhere.`);
}
