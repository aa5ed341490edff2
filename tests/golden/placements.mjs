// An independent second implementation of the placement strategies, written from the definitions in docs/strategies.md,
// and the maker of placements.json:
//
//   node tests/golden/placements.mjs            writes the file
//   node tests/golden/placements.mjs --check    fails if the file says anything else
//
// Everything that decides is a BigInt, or a whole number below 2^53. It first proves itself on vectors that others
// published, and on the laws of movement.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";

const BITS = 64n;
const MASK = (1n << BITS) - 1n;

// MurmurHash3_x64_128, seed 0, after Austin Appleby's public-domain MurmurHash3.cpp.

const C1 = 0x87c37b91114253d5n;
const C2 = 0x4cf5ad432745937fn;
const rotate = (x, by) => ((x << by) | (x >> (BITS - by))) & MASK;

function avalanche(k) {
  k = ((k ^ (k >> 33n)) * 0xff51afd7ed558ccdn) & MASK;
  k = ((k ^ (k >> 33n)) * 0xc4ceb9fe1a85ec53n) & MASK;
  return k ^ (k >> 33n);
}

/** Both 64-bit words of the hash of a text's UTF-8. */
function words(text) {
  const data = Buffer.from(text, "utf8");
  const blocks = Math.floor(data.length / 16);
  let [h1, h2] = [0n, 0n];
  for (let block = 0; block < blocks; block++) {
    const k1 = data.readBigUInt64LE(block * 16);
    const k2 = data.readBigUInt64LE(block * 16 + 8);
    h1 ^= (rotate((k1 * C1) & MASK, 31n) * C2) & MASK;
    h1 = ((rotate(h1, 27n) + h2) * 5n + 0x52dce729n) & MASK;
    h2 ^= (rotate((k2 * C2) & MASK, 33n) * C1) & MASK;
    h2 = ((rotate(h2, 31n) + h1) * 5n + 0x38495ab5n) & MASK;
  }
  const tail = Buffer.alloc(16);
  data.copy(tail, 0, blocks * 16);
  h2 ^= (rotate((tail.readBigUInt64LE(8) * C2) & MASK, 33n) * C1) & MASK;
  h1 ^= (rotate((tail.readBigUInt64LE(0) * C1) & MASK, 31n) * C2) & MASK;
  h1 ^= BigInt(data.length);
  h2 ^= BigInt(data.length);
  h1 = (h1 + h2) & MASK;
  h2 = (h2 + h1) & MASK;
  h1 = avalanche(h1);
  h2 = avalanche(h2);
  h1 = (h1 + h2) & MASK;
  h2 = (h2 + h1) & MASK;
  return [h1, h2];
}

const nodeKey = (nodeId) => words(nodeId)[0];
const shardKey = (namespace, shardId) => words(`${namespace}\0${shardId}`)[0];

function* splitmix64(seed) {
  for (let state = seed; ; ) {
    state = (state + 0x9e3779b97f4a7c15n) & MASK;
    let z = state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
    yield z ^ (z >> 31n);
  }
}

const ascending = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const bytewise = (a, b) => Buffer.compare(Buffer.from(a, "utf8"), Buffer.from(b, "utf8"));
const byId = (a, b) => bytewise(a.nodeId, b.nodeId);
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

// The logarithm, one binary digit after another: squaring doubles it; its next digit is whether the square reached 2.

const PRECISION = 192n;
const ONE = 1n << PRECISION;
const table = new Map();

/** floor(2^48 * log2(1 + place / 2^14)) */
function tabled(place) {
  if (place === 1n << 14n) return 1n << 48n;
  let digits = table.get(place);
  if (digits === undefined) {
    let x = ONE + (place << (PRECISION - 14n));
    digits = 0n;
    for (let at = 0; at < 48; at++) {
      x = (x * x) >> PRECISION;
      // 48 squarings lose fewer than 60 of the 192 bits; a square this near to 2 would be an undecided digit.
      assert(place === 0n || (x > 2n * ONE ? x - 2n * ONE : 2n * ONE - x) >> 100n > 0n);
      digits <<= 1n;
      if (x >= 2n * ONE) {
        digits |= 1n;
        x >>= 1n;
      }
    }
    table.set(place, digits);
  }
  return digits;
}

function negativeLogarithm(h) {
  const k = (h >> 20n) | 1n;
  const exponent = BigInt(k.toString(2).length - 1);
  const mantissa = (k << (43n - exponent)) - (1n << 43n);
  const place = mantissa >> 29n;
  const rest = mantissa % (1n << 29n);
  const between = ((tabled(place + 1n) - tabled(place)) * rest) / (1n << 29n);
  return (44n - exponent) * (1n << 48n) - tabled(place) - between;
}

function mix(shard, node) {
  let v = ((shard ^ node) * 0xff51afd7ed558ccdn) & MASK;
  v ^= v >> 32n;
  return (v * 0xc4ceb9fe1a85ec53n) & MASK;
}

const score = (h, weight) => (negativeLogarithm(h) * 1024n) / BigInt(weight);

/** Nodes best first, each with its score; `weigh` gives a node's effective weight. */
function contest(nodes, key, weigh) {
  return nodes
    .map((node) => {
      const h = mix(key, nodeKey(node.nodeId));
      return { node, h, score: score(h, weigh(node)) };
    })
    .sort((a, b) => ascending(a.score, b.score) || ascending(b.h, a.h) || byId(a.node, b.node));
}

// Selectors, as far as the cases need them.

function attribute(node, key) {
  const builtIn = { region: node.region, zone: node.zone, node: node.nodeId };
  return node.labels?.[key] ?? builtIn[key] ?? null;
}

function selects(selector, node) {
  const terms = selector.match(/[^,(]+(\([^)]*\))?/g) ?? [];
  return terms.every((term) => {
    const set = /^\s*(\S+)\s+(in|notin)\s*\(([^)]*)\)\s*$/.exec(term);
    if (set) {
      const among = set[3].split(",").map((value) => value.trim());
      return among.includes(attribute(node, set[1])) === (set[2] === "in");
    }
    const [, key, operator, value] = /^\s*(!?[^\s=!]+)\s*(==?|!=)?\s*(\S*)\s*$/.exec(term);
    if (operator) return (attribute(node, key) === value) === (operator !== "!=");
    return key.startsWith("!") ? attribute(node, key.slice(1)) === null : attribute(node, key) !== null;
  });
}

// The strategies: each takes nodes in order of id and its parameters, and gives a function from (key, hint) to a rank.

function readHint(hint) {
  if (!hint) return {};
  if (hint.startsWith("zone:")) return { zone: hint.slice(5) };
  const [region, zone] = hint.replace(/^region:/, "").split("/");
  return { region, zone };
}

/** 2: of the zone hinted at; 1: of the region; 0: neither. */
function level(node, { region, zone }) {
  const inRegion = region === undefined || node.region === region;
  if (zone !== undefined && node.zone === zone && inRegion) return 2;
  return region !== undefined && inRegion ? 1 : 0;
}

function natural(a, b) {
  const split = (text) => text.match(/\d+|\D/g);
  const [left, right] = [split(a), split(b)];
  for (let at = 0; at < Math.min(left.length, right.length); at++) {
    const numbers = /\d/.test(left[at]) && /\d/.test(right[at]);
    const order = numbers ? ascending(BigInt(left[at]), BigInt(right[at])) : bytewise(left[at], right[at]);
    if (order) return order;
  }
  return left.length - right.length || bytewise(a, b);
}

function jump(key, buckets) {
  let [bucket, next] = [-1n, 0n];
  while (next < BigInt(buckets)) {
    bucket = next;
    key = (key * 2862933555777941757n + 1n) & MASK;
    next = ((bucket + 1n) << 31n) / ((key >> 33n) + 1n);
  }
  return Number(bucket);
}

/** Distinct values in order of first appearance, until there are as many as asked for. */
function distinct(values, enough) {
  const seen = new Set();
  for (const value of values) {
    if (seen.size === enough) break;
    seen.add(value);
  }
  return [...seen];
}

const STRATEGIES = {
  rendezvous: {
    defaults: {},
    prepare: (nodes) => (key) => contest(nodes, key, (node) => node.weight).map(({ node }) => node),
  },

  locality: {
    defaults: { mode: "prefer", regionBoost: 16, zoneBoost: 64, preferredLabels: "", labelBoost: 4 },
    prepare: (nodes, { mode, regionBoost, zoneBoost, preferredLabels, labelBoost }) => (key, hint) => {
      const place = readHint(hint);
      const liked = (node) => preferredLabels !== "" && selects(preferredLabels, node);
      const weigh = (node) =>
        node.weight * [1, regionBoost, zoneBoost][level(node, place)] * (liked(node) ? labelBoost : 1);
      const ranked = contest(nodes, key, weigh).map(({ node }) => node);
      return mode === "strict" ? ranked.sort((a, b) => level(b, place) - level(a, place)) : ranked;
    },
  },

  ring: {
    defaults: { virtualNodes: 160 },
    prepare: (nodes, { virtualNodes }) => {
      const points = nodes.flatMap((node) => {
        const stream = splitmix64(nodeKey(node.nodeId));
        return Array.from({ length: virtualNodes * node.weight }, () => ({ point: stream.next().value, node }));
      });
      points.sort((a, b) => ascending(a.point, b.point) || byId(a.node, b.node));
      return (key) => {
        const found = points.findIndex(({ point }) => point >= key);
        const start = found < 0 ? 0 : found;
        const clockwise = [...points.slice(start), ...points.slice(0, start)];
        return distinct(clockwise.map(({ node }) => node), nodes.length);
      };
    },
  },

  maglev: {
    defaults: { tableSize: 65537 },
    prepare: (nodes, { tableSize }) => {
      const size = BigInt(tableSize);
      const slots = new Array(tableSize).fill(null);
      const takers = nodes.map((node) => {
        const [first, second] = words(node.nodeId);
        return { node, turns: 0, slot: Number(first % size), skip: Number(second % (size - 1n)) + 1 };
      });
      for (let taken = 0; taken < tableSize; taken++) {
        // Below 2^20 * 1,000,004, so exact.
        const next = takers.reduce((best, taker) =>
          (taker.turns + 1) * best.node.weight < (best.turns + 1) * taker.node.weight ? taker : best,
        );
        while (slots[next.slot] !== null) next.slot = (next.slot + next.skip) % tableSize;
        slots[next.slot] = next.node;
        next.turns++;
      }
      return (key) => {
        const start = Number(key % size);
        return distinct([...slots.slice(start), ...slots.slice(0, start), ...nodes], nodes.length);
      };
    },
  },

  jump: {
    defaults: {},
    prepare: (nodes) => {
      const line = [...nodes].sort((a, b) => natural(a.nodeId, b.nodeId));
      const buckets = line.flatMap((node) => new Array(node.weight).fill(node));
      return (key) => {
        const stream = splitmix64(key);
        const draws = Array.from({ length: 16 * line.length }, () => stream.next().value);
        const owners = [key, ...draws].map((drawn) => buckets[jump(drawn, buckets.length)]);
        return distinct([...owners, ...line], line.length);
      };
    },
  },
};

// The constraints that go with any strategy.

STRATEGIES.sticky = STRATEGIES.rendezvous;

const UNCONSTRAINED = {
  selector: "",
  maxLoadPercent: null,
  loadBy: "count",
  maxShardsPerNode: null,
  replicas: 1,
  spread: "none",
};

/** What a capacity counts as; the cases' capacities are multiples of 1/8, so no rounding is in question. */
const size = (shard) => BigInt(Math.max(1, Math.min((shard.capacity ?? 1) * 1_000_000, 2 ** 52)));

/** The load at which a node is full, of `total` in all; null if there is no such bound. */
function fullAt(node, nodes, total, { maxLoadPercent }) {
  if (maxLoadPercent === null) return null;
  const weights = BigInt(sum(nodes.map((other) => other.weight)));
  const [over, under] = [total * BigInt(node.weight) * BigInt(maxLoadPercent), 100n * weights];
  const ceiling = (over + under - 1n) / under;
  return ceiling > 1n ? ceiling : 1n;
}

/** Owners of the shards, in the order given, each shard with its key and rank. */
function bounded(nodes, shards, constraints) {
  const { loadBy, maxShardsPerNode } = constraints;
  const load = loadBy === "count" ? () => 1n : size;
  const total = shards.reduce((all, { shard }) => all + load(shard), 0n);
  const used = new Map(nodes.map((node) => [node, { load: 0n, count: 0 }]));
  const bounds = new Map(nodes.map((node) => [node, fullAt(node, nodes, total, constraints)]));
  const free = (node) =>
    (bounds.get(node) === null || used.get(node).load < bounds.get(node)) &&
    (maxShardsPerNode === null || used.get(node).count < maxShardsPerNode);
  const owners = new Map();
  const order = [...shards].sort((a, b) => ascending(a.key, b.key) || bytewise(a.shard.shardId, b.shard.shardId));
  for (const { shard, rank } of order) {
    const owner = rank.find(free);
    assert(owner, `${shard.shardId} has a node to go to`);
    used.get(owner).load += load(shard);
    used.get(owner).count++;
    owners.set(shard, owner);
  }
  return owners;
}

/**
 * `sticky`: the owners of shards that have a `present` one or not. Nothing else stays on the nodes.
 */
function settle({ namespace, parameters, nodes, shards, threshold }) {
  const complete = { ...UNCONSTRAINED, ...parameters };
  const eligible = nodes.filter((node) => selects(complete.selector, node)).sort(byId);
  const rankOf = STRATEGIES.sticky.prepare(eligible);
  const ranked = shards.map((shard) => {
    const key = shardKey(namespace, shard.shardId);
    const present = eligible.find((node) => node.nodeId === shard.present);
    return { shard, key, present, rank: rankOf(key) };
  });
  const inOrder = (a, b) => ascending(a.key, b.key) || bytewise(a.shard.shardId, b.shard.shardId);
  const owners = new Map(ranked.map((row) => [row.shard, row.present]));
  const has = (node) => ranked.filter(({ shard }) => owners.get(shard) === node);
  const homeless = () => ranked.filter(({ shard }) => !owners.get(shard)).sort(inOrder);
  if (threshold === null) {
    const load = complete.loadBy === "count" ? () => 1n : size;
    const total = ranked.reduce((all, { shard }) => all + load(shard), 0n);
    const limits = new Map(eligible.map((node) => [node, fullAt(node, eligible, total, complete)]));
    const loadOf = (node) => has(node).reduce((all, { shard }) => all + load(shard), 0n);
    const isFull = (node, used, count) =>
      (limits.get(node) !== null && used >= limits.get(node)) ||
      (complete.maxShardsPerNode !== null && count >= complete.maxShardsPerNode);
    for (const node of eligible) {
      let [used, count] = [0n, 0];
      const own = has(node).sort((a, b) => ascending(load(a.shard), load(b.shard)) || inOrder(a, b));
      for (const { shard } of own) {
        if (isFull(node, used, count)) owners.set(shard, undefined);
        else [used, count] = [used + load(shard), count + 1];
      }
    }
    for (const { shard, rank } of homeless()) {
      owners.set(shard, rank.find((node) => !isFull(node, loadOf(node), has(node).length)));
    }
    return owners;
  }
  const total = shards.length;
  const weights = sum(eligible.map((node) => node.weight));
  const most = new Map();
  const least = new Map();
  const quota = new Map();
  for (const node of eligible) {
    const bounds = [Math.max(1, Math.ceil((total * node.weight * (100 + threshold)) / (100 * weights)))];
    const bound = fullAt(node, eligible, BigInt(total), complete);
    if (bound !== null) bounds.push(Number(bound));
    if (complete.maxShardsPerNode !== null) bounds.push(complete.maxShardsPerNode);
    most.set(node, Math.min(...bounds));
    const share = Math.floor((total * node.weight * (100 - threshold)) / (100 * weights));
    least.set(node, Math.min(share, most.get(node)));
    quota.set(node, Math.max(least.get(node), Math.min(has(node).length, most.get(node))));
  }
  while (sum([...most.values()]) < total) {
    const below = eligible.filter((node) => most.get(node) < (complete.maxShardsPerNode ?? total));
    const ratio = (a, b) => ascending(most.get(a) * b.weight, most.get(b) * a.weight);
    const [first] = below.sort((a, b) => ratio(a, b) || byId(a, b));
    most.set(first, most.get(first) + 1);
    quota.set(first, Math.max(least.get(first), Math.min(has(first).length, most.get(first))));
  }
  while (sum([...quota.values()]) > total) {
    const above = eligible.filter((node) => quota.get(node) > least.get(node));
    const ratio = (a, b) => ascending(quota.get(b) * a.weight, quota.get(a) * b.weight);
    const [first] = above.sort((a, b) => ratio(a, b) || byId(a, b));
    quota.set(first, quota.get(first) - 1);
  }
  const lacking = new Map(eligible.map((node) => [node, Math.max(0, quota.get(node) - has(node).length)]));
  for (const node of eligible) {
    for (const { shard } of has(node).sort(inOrder).slice(quota.get(node))) owners.set(shard, undefined);
  }
  for (const { shard, rank } of homeless()) {
    const lacks = rank.find((node) => lacking.get(node) > 0);
    if (lacks) lacking.set(lacks, lacking.get(lacks) - 1);
    owners.set(shard, lacks ?? rank.find((node) => has(node).length < most.get(node)));
  }
  return owners;
}

function replicas(rank, owner, { replicas: count, spread }) {
  // Zones of one name in two regions are two zones; nodes that name none are in one of their own.
  const place = (node) => ({ none: "", region: `${node.region}`, zone: `${node.region}/${node.zone}` })[spread];
  const chosen = [owner];
  while (chosen.length < count) {
    const uses = (node) => chosen.filter((other) => place(other) === place(node)).length;
    const left = rank.filter((node) => !chosen.includes(node));
    const least = Math.min(...left.map(uses));
    chosen.push(left.find((node) => uses(node) === least));
  }
  return chosen;
}

/** The answers of one configuration for all shards, in the order given. */
function solve({ algorithm, namespace, parameters, nodes, shards }) {
  const strategy = STRATEGIES[algorithm];
  const complete = { ...strategy.defaults, ...UNCONSTRAINED, ...parameters };
  const known = new Set([...Object.keys(strategy.defaults), ...Object.keys(UNCONSTRAINED)]);
  assert(Object.keys(parameters).every((name) => known.has(name)));
  const eligible = nodes.filter((node) => selects(complete.selector, node)).sort(byId);
  const rankOf = strategy.prepare(eligible, complete);
  const ranked = shards.map((shard) => {
    const key = shardKey(namespace, shard.shardId);
    return { shard, key, rank: rankOf(key, shard.localityHint) };
  });
  const owners = bounded(eligible, ranked, complete);
  return ranked.map(({ shard, key, rank }) => {
    const owner = owners.get(shard);
    return { shard, key, rank, owner, replicas: replicas(rank, owner, complete) };
  });
}

// Proof on what others published.

const publishedMurmur = { foo: [16316970633193145697n, 9128664383759220103n] };
for (const [text, expected] of Object.entries(publishedMurmur)) assert.deepEqual(words(text), expected);

const firstOfSplitmix = splitmix64(1234567n);
for (const value of [6457827717110365317n, 3203168211198807973n, 9817491932198370423n]) {
  assert.equal(firstOfSplitmix.next().value, value);
}

// Guava's tests, and two of dgryski's.
const publishedJumps = [
  [1n, 100, 55],
  [2n, 100, 62],
  [3n, 100, 8],
  [4n, 100, 45],
  [5n, 100, 59],
  [0xdead10ccn, 666, 361],
  [256n, 1024, 520],
];
for (const [key, buckets, bucket] of publishedJumps) assert.equal(jump(key, buckets), bucket);

for (const place of [1n, 2n, 4095n, 8192n, 12345n, 16383n]) {
  // As near as doubles get: this is a table of logarithms, not of something else.
  assert(Math.abs(Number(tabled(place)) / 2 ** 48 - Math.log2(1 + Number(place) / 2 ** 14)) < 1e-13);
}

// The cases.

const numbered = (count, weigh = () => 1, name = (at) => `node-${at}`) =>
  Array.from({ length: count }, (_, at) => ({ nodeId: name(at + 1), weight: weigh(at) }));
const weighted = (...weights) => numbered(weights.length, (at) => weights[at]);

/** From 1 to 2^20 - 1, evenly over their logarithms. */
const someWeight = (at) => {
  const [drawn] = words(`weight ${at}`);
  const power = 1n << (drawn % 20n);
  return Number(power + ((drawn >> 8n) % power));
};

const placed = (nodeId, region, zone, weight = 1, labels = {}) => ({ nodeId, weight, region, zone, labels });
const WORLD = [
  placed("eu-a-1", "eu", "a", 1, { disk: "ssd", rack: "r1" }),
  placed("eu-a-2", "eu", "a", 3, { disk: "hdd" }),
  placed("eu-b-1", "eu", "b", 2, { disk: "ssd", spot: "yes" }),
  placed("eu-b-2", "eu", "b", 1),
  placed("us-a-1", "us", "a", 1, { disk: "ssd" }),
  placed("us-a-2", "us", "a", 1, { disk: "nvme" }),
  placed("us-c-1", "us", "c", 4, { disk: "hdd" }),
  placed("ap-d-1", "ap", "d", 1, { disk: "nvme", spot: "no" }),
  placed("ap-9", "ap", null, 2, { zone: "label-zone" }),
  placed("lost-1", null, "a", 1, { disk: "ssd" }),
  placed("lost-2", null, null, 5),
];
const ZONED = [
  placed("n1", "eu", "eu-1", 2),
  placed("n2", "eu", "eu-1", 1),
  placed("n3", "eu", "eu-2", 1),
  placed("n4", "eu", "eu-2", 1),
  placed("n5", "us", "us-1", 1),
  placed("n6", "us", "us-1", 3),
  placed("n7", "us", "us-2", 1),
  placed("n8", "ap", "ap-1", 1),
];
const HINTS = [null, "eu", "region:us", "eu/a", "eu/b", "us/c", "zone:a", "zone:d"];
HINTS.push("region:ap", "ap/a", "nowhere", "zone:z");

const shardIds = (count, prefix) => Array.from({ length: count }, (_, at) => ({ shardId: `${prefix}-${at}` }));
const hinted = (count) =>
  shardIds(count, "shard").map((shard, at) => ({ ...shard, localityHint: HINTS[at % HINTS.length] }));
const sized = (count) =>
  shardIds(count, "tenant").map((shard, at) => ({ ...shard, capacity: [1, 0.125, 2.5, 1, 40, 0.5, 7][at % 7] }));

const EQUAL = {
  "one node": weighted(1),
  "two equal nodes": weighted(1, 1),
  "three equal nodes": weighted(1, 1, 1),
  "ten equal nodes": numbered(10),
};
const UNEQUAL = {
  "one heavy node": weighted(2 ** 20),
  "weights 1:4": weighted(1, 4),
  "weights 1:1:1:10": weighted(1, 1, 1, 10),
  "weights 7:7:7, equal and not 1": weighted(7, 7, 7),
};
const MIXED = { "ten nodes, weights 1 to 2^20": weighted(1, 2, 3, 5, 8, 13, 100, 1000, 65536, 2 ** 20) };
const FIFTY = { "fifty nodes, weights 1 to 2^20": numbered(50, someWeight, (at) => `host-${at}.rack-${at % 7}`) };
const FIFTY_LIGHT = { "fifty nodes, weights 1 to 5": numbered(50, (at) => 1 + ((at * at) % 5)) };

const SHOWN = 5;
const cases = [];

function add(about, algorithm, parameters, nodes, shards, { namespace = "orders" } = {}) {
  const solved = solve({ algorithm, namespace, parameters, nodes, shards });
  const constrained = "maxLoadPercent" in parameters || "maxShardsPerNode" in parameters;
  cases.push({
    about,
    algorithm,
    algorithmVersion: 1,
    namespace,
    parameters,
    nodes,
    shards: solved.map(({ shard, key, rank, owner, replicas: all }, at) => {
      const row = { ...shard, owner: owner.nodeId };
      assert(constrained || owner === rank[0]);
      row.rank = rank.slice(0, SHOWN).map((node) => node.nodeId);
      if ("replicas" in parameters) row.replicas = all.map((node) => node.nodeId);
      if (algorithm === "rendezvous" && at < 6) {
        const scored = rank.slice(0, SHOWN);
        row.scores = scored.map((node) => String(score(mix(key, nodeKey(node.nodeId)), node.weight)));
      }
      return row;
    }),
  });
}

for (const [about, nodes] of Object.entries({ ...EQUAL, ...UNEQUAL, ...MIXED, ...FIFTY, ...FIFTY_LIGHT })) {
  add(about, "rendezvous", {}, nodes, shardIds(nodes.length === 1 ? 4 : 40, "shard"));
}
add("another namespace: the same shards elsewhere", "rendezvous", {}, weighted(1, 1, 1), shardIds(30, "shard"), {
  namespace: "billing.eu:2",
});
add(
  "ids of every length up to two blocks of the hash and a bit, with every punctuation",
  "rendezvous",
  {},
  numbered(4, (at) => at + 1, (at) => "N._:-"[at] + "x".repeat(9 * at)),
  Array.from({ length: 40 }, (_, at) => ({ shardId: `S${"._:-a7Z".repeat(6).slice(0, at)}` })),
  { namespace: "a" },
);

for (const [about, nodes] of Object.entries({ ...EQUAL, "weights 1:4": weighted(1, 4), ...FIFTY_LIGHT })) {
  add(about, "ring", {}, nodes, shardIds(nodes.length === 1 ? 4 : 30, "shard"));
}
add("one point a node: half of the shards wrap", "ring", { virtualNodes: 1 }, numbered(3), shardIds(30, "shard"));
add("few points, weights 1:1:1:10", "ring", { virtualNodes: 7 }, weighted(1, 1, 1, 10), shardIds(30, "shard"));
add("many points", "ring", { virtualNodes: 4096 }, weighted(1, 2), shardIds(30, "shard"));

for (const [about, nodes] of Object.entries({ ...EQUAL, ...UNEQUAL, ...MIXED })) {
  add(about, "maglev", { tableSize: 101 }, nodes, shardIds(nodes.length === 1 ? 4 : 30, "shard"));
}
add("the default table", "maglev", {}, weighted(1, 4, 2), shardIds(30, "shard"));
add("fifty nodes", "maglev", { tableSize: 1009 }, Object.values(FIFTY)[0], shardIds(30, "shard"));
add("as many nodes as slots", "maglev", { tableSize: 101 }, numbered(101), shardIds(20, "shard"));

for (const [about, nodes] of Object.entries({ ...EQUAL, ...UNEQUAL, ...FIFTY_LIGHT })) {
  add(about, "jump", {}, nodes, shardIds(nodes.length === 1 ? 4 : 30, "shard"));
}
add(
  "natural order is not the order of ids",
  "jump",
  {},
  ["n10", "n9", "n100", "n1", "n09", "n2b10", "n2b9", "7", "70", "N8", "n"].map((nodeId, at) => ({
    nodeId,
    weight: 1 + (at % 3),
  })),
  shardIds(40, "shard"),
);

add("prefer", "locality", {}, WORLD, hinted(48));
add("strict", "locality", { mode: "strict" }, WORLD, hinted(48));
add("no hints: as rendezvous", "locality", {}, WORLD, shardIds(20, "shard"));
add("weaker and stronger boosts", "locality", { regionBoost: 2, zoneBoost: 1024 }, WORLD, hinted(36));
add("a boost of 1 is none", "locality", { regionBoost: 1, zoneBoost: 1 }, WORLD, hinted(24));
add("preferred labels", "locality", { preferredLabels: "disk=ssd" }, WORLD, hinted(36));
add(
  "preferred labels, strict",
  "locality",
  { mode: "strict", preferredLabels: "disk in (ssd, nvme),!spot", labelBoost: 100 },
  WORLD,
  hinted(36),
);
add("a place as preferred label", "locality", { preferredLabels: "region=eu", labelBoost: 9 }, WORLD, hinted(24));
add(
  "the greatest boosts over the greatest weights",
  "locality",
  { regionBoost: 1024, zoneBoost: 1024, preferredLabels: "disk", labelBoost: 1024 },
  WORLD.map((node, at) => ({ ...node, weight: 2 ** 20 - at * at * 9000 })),
  hinted(36),
);

const SELECTORS = ["disk=ssd", "disk!=ssd", "disk in (nvme,hdd)", "disk notin (ssd)", "zone", "!zone"];
SELECTORS.push("region=eu,zone=b", "node in (lost-1, eu-a-1),disk==ssd", "zone=label-zone");
for (const selector of SELECTORS) {
  add(`only nodes of ${selector}`, "rendezvous", { selector }, WORLD, shardIds(8, "shard"));
}
add("strict among those that are eligible", "locality", { mode: "strict", selector: "zone!=a" }, WORLD, hinted(24));

for (const [about, nodes] of Object.entries({ ...EQUAL, ...MIXED, ...FIFTY_LIGHT })) {
  add(about, "sticky", {}, nodes, shardIds(nodes.length === 1 ? 4 : 40, "shard"));
}

const limits = [
  [{ maxLoadPercent: 100 }, numbered(3), shardIds(40, "tenant")],
  [{ maxLoadPercent: 125 }, weighted(1, 1, 1, 10), shardIds(40, "tenant")],
  [{ maxLoadPercent: 110, loadBy: "capacity" }, weighted(1, 4, 2), sized(42)],
  [{ maxLoadPercent: 100, loadBy: "capacity" }, numbered(10), sized(40)],
  [{ maxShardsPerNode: 9 }, weighted(1, 4, 2, 30, 1), shardIds(40, "tenant")],
  [{ maxShardsPerNode: 20, maxLoadPercent: 150, loadBy: "capacity" }, weighted(1, 3, 2), sized(35)],
];
for (const [parameters, nodes, shards] of limits) {
  add("bounded load", "rendezvous", parameters, nodes, shards);
}
add("bounded load, none has an owner", "sticky", { maxLoadPercent: 105 }, weighted(1, 2, 1), shardIds(40, "tenant"));
add("bounded load", "ring", { virtualNodes: 20, maxLoadPercent: 105 }, weighted(1, 2, 1), shardIds(40, "tenant"));
add("bounded load", "maglev", { tableSize: 101, maxLoadPercent: 100 }, numbered(5), shardIds(40, "tenant"));
add("bounded load", "jump", { maxLoadPercent: 110 }, numbered(11), shardIds(40, "tenant"));
add("bounds spill out of the place hinted at", "locality", { mode: "strict", maxLoadPercent: 120 }, WORLD, hinted(48));
add(
  "one shard larger than any bound",
  "rendezvous",
  { maxLoadPercent: 100, loadBy: "capacity" },
  numbered(4),
  shardIds(24, "tenant").map((shard, at) => ({ ...shard, capacity: at === 5 ? 1e12 : 1 })),
);

add(
  "shards without any capacity",
  "rendezvous",
  { maxLoadPercent: 100, loadBy: "capacity" },
  weighted(1, 2),
  shardIds(16, "tenant").map((shard, at) => ({ ...shard, capacity: at % 3 ? 0 : 0.125 })),
);

add("three replicas", "rendezvous", { replicas: 3 }, ZONED, shardIds(20, "shard"));
add("three replicas over zones", "rendezvous", { replicas: 3, spread: "zone" }, ZONED, shardIds(20, "shard"));
add("seven replicas over zones", "ring", { replicas: 7, spread: "zone" }, ZONED, shardIds(20, "shard"));
add("four replicas over regions", "rendezvous", { replicas: 4, spread: "region" }, ZONED, shardIds(20, "shard"));
add("replicas over zones of one name", "rendezvous", { replicas: 6, spread: "zone" }, WORLD, shardIds(16, "shard"));
add(
  "replicas follow an owner that the bounds chose",
  "rendezvous",
  { replicas: 3, spread: "region", maxLoadPercent: 100 },
  ZONED,
  shardIds(24, "shard"),
);

// Changes of the nodes, one after another.

const without = (nodes, ...gone) => nodes.filter((node) => !gone.includes(node.nodeId));
const changed = (nodes, nodeId, change) =>
  nodes.map((node) => (node.nodeId === nodeId ? { ...node, ...change } : node));

function steps(nodes) {
  const [one, two, three] = nodes.slice(-3).map((node) => node.nodeId);
  const list = [["the start", nodes]];
  const then = (about, change) => list.push([about, change(list.at(-1)[1])]);
  then("a node is added", (before) => [...before, { nodeId: "node-94", weight: 2 }]);
  then(`${one} is removed`, (before) => without(before, one));
  then(`${two} weighs 6`, (before) => changed(before, two, { weight: 6 }));
  then(`${two} weighs 1`, (before) => changed(before, two, { weight: 1 }));
  then(`${three} is removed, two nodes are added, node-94 weighs 3`, (before) => [
    ...changed(without(before, three), "node-94", { weight: 3 }),
    { nodeId: "node-95", weight: 1 },
    { nodeId: "node-0", weight: 4 },
  ]);
  then("all weigh 1", (before) => before.map((node) => ({ ...node, weight: 1 })));
  return list;
}

const moves = [
  ["rendezvous", {}, weighted(1, 1, 1, 1, 1), shardIds(60, "shard")],
  ["rendezvous", {}, weighted(1, 4, 2, 10, 1, 3), shardIds(60, "shard")],
  ["ring", { virtualNodes: 16 }, weighted(1, 4, 2, 1), shardIds(60, "shard")],
  ["locality", {}, WORLD, hinted(60)],
  ["locality", { mode: "strict", preferredLabels: "disk=ssd" }, WORLD, hinted(60)],
  ["maglev", { tableSize: 211 }, weighted(1, 4, 2, 1), shardIds(60, "shard")],
  ["jump", {}, weighted(1, 4, 2, 1), shardIds(60, "shard")],
  ["sticky", {}, weighted(1, 4, 2, 1), shardIds(60, "shard")],
];

const same = (a, b) => a !== undefined && b !== undefined && JSON.stringify(a) === JSON.stringify(b);

const sequences = moves.map(([algorithm, parameters, nodes, shards]) => {
  const namespace = "orders";
  let before = null;
  return {
    algorithm,
    algorithmVersion: 1,
    namespace,
    parameters,
    shards,
    steps: steps(nodes).map(([about, now]) => {
      const owners = solve({ algorithm, namespace, parameters, nodes: now, shards }).map(({ owner }) => owner.nodeId);
      if (before !== null && ["rendezvous", "ring", "locality", "sticky"].includes(algorithm)) {
        const stayed = (nodeId) =>
          same(...[before.nodes, now].map((list) => list.find((node) => node.nodeId === nodeId)));
        owners.forEach((owner, at) => {
          assert(owner === before.owners[at] || !stayed(owner) || !stayed(before.owners[at]));
        });
      }
      before = { nodes: now, owners };
      return { change: about, nodes: now, owners };
    }),
  };
});

// What becomes of shards that have owners.

const ranges = (count, ...owners) =>
  shardIds(count, "slot").map((shard, at) => {
    const present = owners[Math.floor((at * owners.length) / count)];
    return present === null ? shard : { ...shard, present };
  });
const sizedRanges = (...given) =>
  ranges(...given).map((shard, at) => ({ ...shard, capacity: [1, 0.125, 2.5, 1, 40, 0.5, 7][at % 7] }));
const keeping = [
  ["exact ranges stay", {}, null, numbered(3), ranges(30, "node-1", "node-2", "node-3")],
  ["so they do however uneven", {}, null, numbered(5), ranges(30, "node-1", "node-1", "node-3")],
  ["shards of a node that is gone are placed", {}, null, numbered(3), ranges(30, "node-1", "node-9", "node-3")],
  ["shards without an owner are placed", {}, null, weighted(1, 4, 2), ranges(30, null, "node-2", "node-3")],
  ["a selector", { selector: "disk=ssd" }, null, WORLD, ranges(24, "eu-a-1", "eu-a-2", "us-a-1", "lost-1")],
  ["a bound", { maxLoadPercent: 110 }, null, numbered(4), ranges(40, "node-1", "node-1", "node-2", "node-9")],
  ["a bound of shards", { maxShardsPerNode: 12 }, null, weighted(1, 9, 2, 1), ranges(40, "node-1", "node-2")],
  [
    "a bound by capacity",
    { maxLoadPercent: 120, loadBy: "capacity" },
    null,
    weighted(1, 4, 2),
    sizedRanges(42, "node-1", "node-3", null),
  ],
  ["a threshold of 0", {}, 0, weighted(1, 4, 2, 1), ranges(40, "node-1", "node-2", "node-3", "node-4")],
  ["a node joins", {}, 10, numbered(4), ranges(48, "node-1", "node-2", "node-3")],
  ["within the threshold nothing moves", {}, 25, numbered(4), ranges(40, "node-1", "node-2", "node-3", "node-4")],
  ["a node leaves", {}, 10, numbered(3), ranges(48, "node-1", "node-2", "node-3", "node-4")],
  ["many lack some", {}, 20, numbered(6), ranges(60, "node-1", "node-1", "node-2", "node-3", "node-4", null)],
  ["a bound of less than a share", { maxShardsPerNode: 18 }, 10, weighted(1, 9, 2, 1), ranges(40, "node-2", null)],
  ["a threshold of 100", {}, 100, weighted(1, 2, 3), ranges(30, "node-1")],
  [
    "a threshold and bounds",
    { maxLoadPercent: 105, maxShardsPerNode: 16 },
    50,
    weighted(1, 2, 3),
    ranges(36, "node-3", "node-3", null),
  ],
].map(([about, parameters, threshold, nodes, shards]) => {
  const namespace = "orders";
  const owners = settle({ namespace, parameters, nodes, shards, threshold });
  const rows = shards.map((shard) => ({ ...shard, owner: owners.get(shard).nodeId }));
  return { about, algorithmVersion: 1, namespace, parameters, threshold, nodes, shards: rows };
});

// Single values, at and about the edges.

const texts = ["a", "node-1", "orders\0shard-0", "Z".repeat(31)];
const keys = texts.map((text) => ({ text, words: words(text).map(String) }));

const edges = [0n, 1n, (1n << 20n) - 1n, 1n << 20n, 1n << 21n, 3n << 20n, (1n << 63n) - 1n, 1n << 63n];
edges.push(MASK - (1n << 20n), MASK);
const spread = Array.from({ length: 30 }, (_, at) => words(`hash ${at}`)[0] >> BigInt((at % 10) * 5));
const scores = [...edges, ...spread].flatMap((h, at) =>
  [1, 2 ** 20, someWeight(at)].map((weight) => ({ hash: String(h), weight, score: String(score(h, weight)) })),
);

const document = {
  about:
    "Placements by the strategies of omnirelay-shards, for other implementations. Made by placements.mjs, which is " +
    "written from the definitions in docs/strategies.md; run `node tests/golden/placements.mjs` to make it anew. " +
    "Parameters not named have their defaults. `rank` is how the rank of a shard begins, among the nodes that the " +
    "selector leaves; `owner` is its first unless a bound is set; `scores` are those of the nodes in `rank`. " +
    "A capacity not named is 1. Integers that JSON numbers cannot hold are decimal strings. Each step of a sequence " +
    "lists all of its nodes, and the owners of the shards in their order. `keeping` is of `sticky`: what becomes of " +
    "shards that have a `present` owner, or none, with a threshold or null.",
  keys,
  scores,
  cases,
  sequences,
  keeping,
};

// JSON with each item of these lists on a line.

const LISTS = ["keys", "scores", "shards", "nodes"];

function write(value, indent = "") {
  const inner = `${indent}  `;
  const lines = (open, parts, close) => `${open}\n${inner}${parts.join(`,\n${inner}`)}\n${indent}${close}`;
  if (Array.isArray(value)) return lines("[", value.map((item) => write(item, inner)), "]");
  const parts = Object.entries(value).map(([key, item]) => {
    let text = JSON.stringify(item);
    if (LISTS.includes(key)) {
      const rows = item.map((row) => JSON.stringify(row));
      text = `[\n${inner}  ${rows.join(`,\n${inner}  `)}\n${inner}]`;
    }
    if (["cases", "sequences", "steps", "keeping"].includes(key)) text = write(item, inner);
    return `${JSON.stringify(key)}: ${text}`;
  });
  return lines("{", parts, "}");
}

const text = `${write(document)}\n`;
const target = new URL("placements.json", import.meta.url);
if (process.argv.includes("--check")) {
  assert.equal(readFileSync(target, "utf8"), text, "placements.json is not what placements.mjs makes");
} else {
  writeFileSync(target, text);
}
