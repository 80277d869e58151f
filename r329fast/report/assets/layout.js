"use strict";
// A layered drawing of a graph without circles: ranks, order within ranks, places.
// layered(nodes, edges): nodes [{ id, width, height, order }], edges [[from id, to id]]; order is
// that of execution. Returns { width, height, place: id -> { x, y, width, height, rank }, paths }.
const LAYOUT = { gapX: 18, gapY: 26, lane: 10, sweeps: 12, passes: 10, many: 10000, margin: 8 };

function layered(nodes, edges) {
  const graph = ranked(nodes, edges);
  orderRanks(graph);
  placeRanks(graph);
  return drawn(graph, edges);
}

// Cells of every rank: nodes, and for edges over several ranks a cell in each rank between.
function ranked(nodes, edges) {
  const cells = new Map(nodes.map((node) => [node.id, { ...node, rank: 0, up: [], down: [] }]));
  const before = new Map(nodes.map((node) => [node.id, []])), after = new Map(nodes.map((node) => [node.id, []]));
  const seen = new Set();
  const links = edges.filter(([from, to]) => {
    const key = from + "\n" + to;
    if (from === to || seen.has(key) || !cells.has(from) || !cells.has(to)) return false;
    seen.add(key);
    before.get(to).push(from);
    after.get(from).push(to);
    return true;
  });
  const inOrder = nodes.slice().sort((a, b) => a.order - b.order);
  for (const node of inOrder) {
    const cell = cells.get(node.id);
    for (const parent of before.get(node.id)) cell.rank = Math.max(cell.rank, cells.get(parent).rank + 1);
  }
  // what nothing feeds stands right above its first reader
  for (const node of inOrder) {
    const readers = after.get(node.id).map((id) => cells.get(id).rank);
    if (!before.get(node.id).length && readers.length) cells.get(node.id).rank = Math.max(0, Math.min(...readers) - 1);
  }
  const ranks = [];
  const put = (cell) => { (ranks[cell.rank] = ranks[cell.rank] || []).push(cell); return cell; };
  for (const node of inOrder) put(cells.get(node.id));
  const chains = new Map();
  for (const [from, to] of links) {
    const a = cells.get(from), b = cells.get(to), chain = [a];
    for (let rank = a.rank + 1; rank < b.rank; rank++) chain.push(put({ id: null, width: LAYOUT.lane, height: 0, rank, up: [], down: [] }));
    chain.push(b);
    for (let i = 1; i < chain.length; i++) { chain[i - 1].down.push(chain[i]); chain[i].up.push(chain[i - 1]); }
    chains.set(from + "\n" + to, chain);
  }
  const full = ranks.filter(Boolean);
  full.forEach((cellsOf, rank) => cellsOf.forEach((cell, at) => { cell.rank = rank; cell.at = at; }));
  return { ranks: full, cells, chains };
}

// Few crossings: every rank sorted by the mean place of its neighbours, down and up in turn.
function orderRanks({ ranks }) {
  const sweeps = ranks.reduce((sum, cells) => sum + cells.length, 0) > LAYOUT.many ? 4 : LAYOUT.sweeps;
  let best = null, fewest = Infinity;
  for (let sweep = 0; sweep <= sweeps; sweep++) {
    const count = crossings(ranks);
    if (count < fewest) { fewest = count; best = ranks.map((cells) => cells.slice()); }
    if (!count || sweep === sweeps) break;
    const falling = sweep % 2 === 0, side = falling ? "up" : "down";
    const order = falling ? ranks : ranks.slice().reverse();
    for (const cells of order) {
      for (const cell of cells) cell.wish = cell[side].length ? cell[side].reduce((sum, other) => sum + other.at, 0) / cell[side].length : cell.at;
      cells.sort((a, b) => a.wish - b.wish || a.at - b.at);
      cells.forEach((cell, at) => { cell.at = at; });
    }
  }
  best.forEach((cells, rank) => { ranks[rank] = cells; cells.forEach((cell, at) => { cell.at = at; }); });
}

// Pairs of edges between two ranks that cross: inversions, counted by a Fenwick tree.
function crossings(ranks) {
  let total = 0;
  ranks.forEach((cells, rank) => {
    const size = (ranks[rank + 1] || []).length + 1, tree = new Array(size + 1).fill(0);
    let seen = 0;
    for (const cell of cells) {
      const ends = cell.down.map((other) => other.at + 1);
      for (const end of ends) {
        let before = 0;
        for (let i = end; i > 0; i -= i & -i) before += tree[i];
        total += seen - before;
      }
      for (const end of ends) for (let i = end; i <= size; i += i & -i) tree[i]++;
      seen += ends.length;
    }
  });
  return total;
}

// Each rank as near to its neighbours as order and room allow (least squares: isotonic regression).
function placeRanks({ ranks }) {
  for (const cells of ranks) {
    let x = 0;
    for (const cell of cells) { cell.x = x + cell.width / 2; x += cell.width + LAYOUT.gapX; }
  }
  for (let pass = 0; pass < LAYOUT.passes; pass++) {
    const falling = pass % 2 === 0, order = falling ? ranks : ranks.slice().reverse();
    for (const cells of order) {
      const wishes = cells.map((cell) => {
        const near = (pass >= LAYOUT.passes - 2 ? [...cell.up, ...cell.down] : cell[falling ? "up" : "down"]);
        if (!near.length) return { wish: cell.x, weight: 0.1 };
        // edges that pass several ranks are kept straight
        const weight = (other) => (cell.id === null && other.id === null ? 8 : cell.id === null || other.id === null ? 2 : 1);
        const whole = near.reduce((sum, other) => sum + weight(other), 0);
        return { wish: near.reduce((sum, other) => sum + weight(other) * other.x, 0) / whole, weight: whole };
      });
      spread(cells, wishes);
    }
  }
}

// Pool adjacent violators: the places nearest to the wishes that keep order and distances.
function spread(cells, wishes) {
  const offset = [0];
  for (let i = 1; i < cells.length; i++) offset[i] = offset[i - 1] + (cells[i - 1].width + cells[i].width) / 2 + LAYOUT.gapX;
  const pools = [];
  wishes.forEach(({ wish, weight }, i) => {
    pools.push({ mean: wish - offset[i], weight, count: 1 });
    while (pools.length > 1 && pools[pools.length - 2].mean > pools[pools.length - 1].mean) {
      const last = pools.pop(), first = pools[pools.length - 1], sum = first.weight + last.weight;
      first.mean = (first.mean * first.weight + last.mean * last.weight) / sum;
      first.weight = sum;
      first.count += last.count;
    }
  });
  let i = 0;
  for (const pool of pools) for (let k = 0; k < pool.count; k++, i++) cells[i].x = pool.mean + offset[i];
}

function drawn({ ranks, cells, chains }, edges) {
  let y = LAYOUT.margin;
  const tops = [], depths = [];
  for (const row of ranks) {
    const depth = Math.max(...row.map((cell) => cell.height));
    tops.push(y);
    depths.push(depth);
    y += depth + LAYOUT.gapY;
  }
  const all = ranks.flat();
  const left = Math.min(...all.map((cell) => cell.x - cell.width / 2)) - LAYOUT.margin;
  const right = Math.max(...all.map((cell) => cell.x + cell.width / 2)) + LAYOUT.margin;
  const place = {};
  for (const [id, cell] of cells) place[id] = { x: cell.x - cell.width / 2 - left, y: tops[cell.rank] + (depths[cell.rank] - cell.height) / 2, width: cell.width, height: cell.height, rank: cell.rank };
  const paths = [];
  for (const [from, to] of edges) {
    const chain = chains.get(from + "\n" + to);
    if (!chain) continue;
    const number = (v) => Math.round(v * 10) / 10;
    let d = "", x0 = 0, y0 = 0;
    chain.forEach((cell, index) => {
      const x = cell.x - left, box = cell.id === null ? null : place[cell.id];
      const top = box ? box.y : tops[cell.rank], bottom = box ? box.y + box.height : tops[cell.rank] + depths[cell.rank];
      if (index) {
        const middle = (y0 + top) / 2;
        d += Math.abs(x - x0) < 0.5 ? `L${number(x)} ${number(top)}` : `C${number(x0)} ${number(middle)} ${number(x)} ${number(middle)} ${number(x)} ${number(top)}`;
      }
      if (!index) d = `M${number(x)} ${number(bottom)}`;
      else if (!box) d += `L${number(x)} ${number(bottom)}`;
      x0 = x;
      y0 = bottom;
    });
    paths.push({ from, to, d });
  }
  return { width: right - left, height: y - LAYOUT.gapY + LAYOUT.margin, place, paths };
}

// Blocks of a network, found by its shape alone: stretches between two layers that everything goes
// through (a residual block, a stage of branches), and chains of layers between them.
const CHAIN = 3;
function blocksOf(names, edges) {
  const index = new Map(names.map((name, i) => [name, i]));
  const last = names.map((_, i) => i);
  for (const [from, to] of edges) if (index.has(from) && index.has(to)) last[index.get(from)] = Math.max(last[index.get(from)], index.get(to));
  const stretches = [];
  let start = 0, open = -1;
  names.forEach((_, i) => {
    if (open <= i) { stretches.push([start, i]); start = i + 1; }
    open = Math.max(open, last[i]);
  });
  if (start < names.length) stretches.push([start, names.length - 1]);
  const blocks = [];
  const add = (kind, from, to) => blocks.push({ id: "block " + names[from], kind, members: names.slice(from, to + 1) });
  const branched = stretches.some(([a, b]) => b > a);
  let run = null;
  for (const [a, b] of [...stretches, [names.length, names.length + 1]]) {
    if (a === b) { run = run || [a, b]; run[1] = b; continue; }
    if (run && branched && run[1] - run[0] + 1 >= CHAIN) add("chain", run[0], run[1]);
    run = null;
    if (a < names.length) add("block", a, b);
  }
  return blocks;
}
