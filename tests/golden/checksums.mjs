// An independent second implementation of the store's checksums, written from the prose of persistence/codec/encoding.py,
// and the maker of checksums.json:
//
//   node tests/golden/checksums.mjs            writes the file
//   node tests/golden/checksums.mjs --check    fails if the file says anything else
//
// MurmurHash3_x64_128 after Austin Appleby's public-domain MurmurHash3.cpp. It first proves itself on vectors that
// others published.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";

const MASK = (1n << 64n) - 1n;
const rotate = (x, bits) => ((x << bits) | (x >> (64n - bits))) & MASK;
const C1 = 0x87c37b91114253d5n;
const C2 = 0x4cf5ad432745937fn;

function finalMix(k) {
  k ^= k >> 33n;
  k = (k * 0xff51afd7ed558ccdn) & MASK;
  k ^= k >> 33n;
  k = (k * 0xc4ceb9fe1a85ec53n) & MASK;
  return k ^ (k >> 33n);
}

/** The two 64-bit words of MurmurHash3_x64_128. */
function murmur3(data, seed) {
  const word = (from, to) => {
    let value = 0n;
    for (let i = Math.min(to, data.length) - 1; i >= from; i--) value = (value << 8n) | BigInt(data[i]);
    return value;
  };
  const mixFirst = (k) => (rotate((k * C1) & MASK, 31n) * C2) & MASK;
  const mixSecond = (k) => (rotate((k * C2) & MASK, 33n) * C1) & MASK;
  let h1 = BigInt(seed);
  let h2 = BigInt(seed);
  const whole = data.length - (data.length % 16);
  for (let at = 0; at < whole; at += 16) {
    h1 ^= mixFirst(word(at, at + 8));
    h1 = ((rotate(h1, 27n) + h2) * 5n + 0x52dce729n) & MASK;
    h2 ^= mixSecond(word(at + 8, at + 16));
    h2 = ((rotate(h2, 31n) + h1) * 5n + 0x38495ab5n) & MASK;
  }
  if (data.length > whole + 8) h2 ^= mixSecond(word(whole + 8, whole + 16));
  if (data.length > whole) h1 ^= mixFirst(word(whole, whole + 8));
  h1 ^= BigInt(data.length);
  h2 ^= BigInt(data.length);
  h1 = (h1 + h2) & MASK;
  h2 = (h2 + h1) & MASK;
  h1 = finalMix(h1);
  h2 = finalMix(h2);
  h1 = (h1 + h2) & MASK;
  h2 = (h2 + h1) & MASK;
  return [h1, h2];
}

const hex = (value, digits) => value.toString(16).padStart(digits, "0");
const checksum = (data) => murmur3(data, 0).map((word) => hex(word, 16)).join("");

// A sequence of fields: a 4-byte big-endian length and that many bytes each; null is the length 0xFFFFFFFF alone.

const sized = (data) => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  return Buffer.concat([length, data]);
};
const nothing = () => Buffer.from("ffffffff", "hex");
const string = (value) => sized(Buffer.from(value, "utf8"));
const bytes = (value) => sized(Buffer.from(value, "hex"));
const integer = (value) => {
  const data = Buffer.alloc(8);
  data.writeBigInt64BE(BigInt(value));
  return sized(data);
};
const real = (value) => {
  const data = Buffer.alloc(8);
  data.writeDoubleBE(Object.is(value, -0) ? 0 : value);
  return sized(data);
};
const time = (value) => {
  const [, seconds, fraction] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?Z$/.exec(value);
  const microseconds = BigInt((fraction ?? "").padEnd(6, "0"));
  return integer(BigInt(Date.parse(`${seconds}Z`)) * 1000n + microseconds);
};
const nullable = (write, value) => (value === null ? nothing() : write(value));

const encodeContent = (shard) =>
  Buffer.concat([
    string("omnirelay.shard.v1"),
    string(shard.namespace),
    string(shard.shardId),
    string(shard.strategy),
    string(shard.ownerNodeId),
    nullable(string, shard.leaderId),
    real(shard.capacityHint),
    nullable(string, shard.localityHint),
    string(shard.status),
    nullable(string, shard.pinned && shard.pinned.by),
    nullable(string, shard.pinned && shard.pinned.reason),
    nullable(time, shard.pinned && shard.pinned.until),
    nullable(string, shard.changeTicket),
  ]);

const encodeShard = (shard) =>
  shard.antiAffinityGroup === null
    ? encodeContent(shard)
    : Buffer.concat([string("omnirelay.shard.v2"), sized(encodeContent(shard)), string(shard.antiAffinityGroup)]);

const encodeEntry = (entry) =>
  Buffer.concat([
    string("omnirelay.entry.v1"),
    string(entry.shardId),
    integer(entry.version),
    string(entry.checksum),
  ]);

// The cases.

const published = [
  { text: "foo", seed: 0, words: ["16316970633193145697", "9128664383759220103"] },
  {
    text: "The quick brown fox jumps over the lazy dog",
    seed: 0x9747b28c,
    words: ["8325606756057297185", "17961889624427075301"],
  },
];
for (const vector of published) {
  const words = murmur3(Buffer.from(vector.text, "utf8"), vector.seed).map(String);
  assert.deepEqual(words, vector.words, `MurmurHash3 of ${vector.text}`);
}

// Every length up to two blocks and a bit, so that every tail is met; bytes above 127 show a sign extended by mistake.
const murmur = Array.from({ length: 37 }, (_, length) => {
  const data = Buffer.from(Array.from({ length }, (_, at) => (255 - at * 7) & 255));
  const seed = length % 2 === 0 ? 0 : 0xdeadbeef;
  return { bytes: data.toString("hex"), seed, words: murmur3(data, seed).map(String) };
});

const fieldCases = [
  { type: "null", value: null, write: nothing },
  { type: "string", value: "", write: string },
  { type: "string", value: "shard-1", write: string },
  { type: "string", value: "Grüße, 世界 🚚", write: string },
  { type: "bytes", value: "00ff", write: bytes },
  { type: "integer", value: "0", write: integer },
  { type: "integer", value: "-1", write: integer },
  { type: "integer", value: "9223372036854775807", write: integer },
  { type: "integer", value: "-9223372036854775808", write: integer },
  { type: "real", value: 0, write: real },
  { type: "real", value: -0, write: real },
  { type: "real", value: 0.1, write: real },
  { type: "real", value: 5e-324, write: real },
  { type: "real", value: 1.7976931348623157e308, write: real },
  { type: "time", value: "1970-01-01T00:00:00Z", write: time },
  { type: "time", value: "1969-12-31T23:59:59.999999Z", write: time },
  { type: "time", value: "2026-03-01T12:30:45.123456Z", write: time },
  { type: "time", value: "9999-12-31T23:59:59.999999Z", write: time },
];
const fields = fieldCases.map(({ type, value, write }) => ({ type, value, encoded: write(value).toString("hex") }));

const plain = {
  namespace: "billing",
  shardId: "shard-0001",
  strategy: "rendezvous",
  ownerNodeId: "node-a",
  leaderId: null,
  capacityHint: 1,
  localityHint: null,
  status: "ACTIVE",
  pinned: null,
  changeTicket: null,
  antiAffinityGroup: null,
};
const pin = { by: "ops", reason: "hot tenant", until: null };
const shardCases = [
  ["as created, everything optional null", {}],
  ["another namespace", { namespace: "billing.eu" }],
  ["another shard id", { shardId: "shard-0002" }],
  ["another strategy", { strategy: "ring" }],
  ["another owner", { ownerNodeId: "node-b" }],
  ["a leader", { leaderId: "node-c" }],
  ["a capacity", { capacityHint: 0.1 }],
  ["no capacity", { capacityHint: 0 }],
  ["no capacity, written as negative zero: the same checksum", { capacityHint: -0 }],
  ["the smallest capacity there is", { capacityHint: 5e-324 }],
  ["a great capacity", { capacityHint: 1e300 }],
  ["a locality", { localityHint: "eu-central/zone-b" }],
  ["draining", { status: "DRAINING" }],
  ["paused", { status: "PAUSED" }],
  ["disabled", { status: "DISABLED" }],
  ["pinned without end", { pinned: pin }],
  ["pinned to the microsecond", { pinned: { ...pin, until: "2026-03-01T12:30:45.123456Z" } }],
  ["pinned to the second", { pinned: { ...pin, until: "2026-03-01T12:30:45Z" } }],
  ["a ticket", { changeTicket: "CHG-1042" }],
  ["text beyond ASCII and beyond the basic plane", { changeTicket: "Grüße, 世界 🚚" }],
  ["the leader's id as ticket: a null in another place is another shard", { changeTicket: "node-c" }],
  ["separators inside a text stay inside it", { pinned: { by: "a\n\tb|c,", reason: '"\\', until: null } }],
  [
    "everything set",
    {
      leaderId: "node-c",
      capacityHint: 2.5,
      localityHint: "zone:zone-b",
      status: "PAUSED",
      pinned: { by: "ops", reason: "Wartung – bis März", until: "2027-12-31T23:59:59.999999Z" },
      changeTicket: "CHG-1043",
    },
  ],
  ["a group", { antiAffinityGroup: "replicas-of-7" }],
  ["the group's name as ticket: another shard", { changeTicket: "replicas-of-7" }],
];
const shards = shardCases.map(([about, changed]) => {
  const shard = { ...plain, ...changed };
  const encoded = encodeShard(shard);
  return { about, shard, encoded: encoded.toString("hex"), checksum: checksum(encoded) };
});

const entry = (shardId, version, of) => {
  const item = { shardId, version, checksum: of };
  const encoded = encodeEntry(item);
  return { ...item, encoded: encoded.toString("hex"), term: checksum(encoded) };
};
const entries = [
  entry("shard-0001", "1", shards[0].checksum),
  entry("shard-0001", "2", shards[0].checksum),
  entry("shard-0001", "9223372036854775807", shards[0].checksum),
  entry("shard-0002", "1", shards[2].checksum),
  entry("shard-0003", "17", shards[22].checksum),
];
const digest = (about, members) => {
  const value = members.reduce((sum, at) => sum ^ BigInt(`0x${entries[at].term}`), 0n);
  return { about, entries: members, digest: hex(value, 32) };
};
const digests = [
  digest("an empty namespace", []),
  digest("one shard", [0]),
  digest("three shards", [0, 3, 4]),
  digest("the same in another order", [4, 0, 3]),
  digest("after shard-0001 went from version 1 to 2", [1, 3, 4]),
];

const document = {
  about:
    "Checksums and digests of omnirelay-shards, for other implementations. Made by checksums.mjs; the rules are the " +
    "docstrings of persistence/codec/encoding.py. Words are the two 64-bit results of " +
    "MurmurHash3_x64_128; bytes are hex; integers that JSON numbers cannot hold are decimal strings; " +
    "digests name their entries by position.",
  published,
  murmur,
  fields,
  shards,
  entries,
  digests,
};

// JSON.stringify writes -0 as 0; it is a number of JSON all the same.
const NEGATIVE_ZERO = "<-0>";
const json = JSON.stringify(document, (_, value) => (Object.is(value, -0) ? NEGATIVE_ZERO : value), 2);
const text = `${json.replaceAll(`"${NEGATIVE_ZERO}"`, "-0.0")}\n`;

const target = new URL("checksums.json", import.meta.url);
if (process.argv.includes("--check")) {
  assert.equal(readFileSync(target, "utf8"), text, "checksums.json is not what checksums.mjs makes");
} else {
  writeFileSync(target, text);
}
