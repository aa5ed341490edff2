// Prints what a page costs in the browser: `node measure.mjs --shards 10000 --minutes 10`. Not a test: a machine that is
// busy with other things prints other numbers.
import { parseArgs } from "node:util";
import { setTimeout as pause } from "node:timers/promises";

import { Browser, Server, live } from "./harness.mjs";

const { values } = parseArgs({
  options: {
    shards: { type: "string", default: "10000" },
    compare: { type: "string", default: "0" }, // so many are moved, and the page of time compares before and after
    nodes: { type: "string" },
    minutes: { type: "string", default: "1" },
    rate: { type: "string", default: "50" },
    path: { type: "string", default: "/" },
  },
});
const shards = Number(values.shards);
const nodes = Number(values.nodes ?? (shards > 20_000 ? 50 : 20));
const minutes = Number(values.minutes);
const rate = Number(values.rate);
const A_CHANGE = 5_000;
const change = { reason: "measured", actor: "measure", idempotencyKey: undefined };

const name = (number) => `node-${String(number).padStart(2, "0")}`;
const shardId = (number) => `shard-${String(number).padStart(6, "0")}`;

const server = await Server.start({ demo: false });
const browser = await Browser.launch();
try {
  for (let number = 0; number < nodes; number += 1) {
    const place = { region: `region-${number % 3}`, zone: `region-${number % 3}-${number % 2}` };
    await server.send("RegisterNode", { input: { nodeId: name(number), ...place, weight: 1, change } });
  }
  for (const namespace of ["orders", "sessions", "telemetry"]) {
    const policy = { moveBudgetPercent: 100 };
    await server.send("ConfigureNamespace", { input: { name: namespace, strategy: "rendezvous", policy, change } });
  }
  const key = (number) => ({ namespace: ["orders", "sessions", "telemetry"][number % 3], shardId: shardId(number) });
  for (let first = 0; first < shards; first += A_CHANGE) {
    const some = Array.from({ length: Math.min(A_CHANGE, shards - first) }, (_, index) => ({ ...key(first + index), ownerNodeId: name((first + index) % nodes) }));
    await server.send("CreateShards", { input: { shards: some, change } });
  }

  const page = await browser.page(server, { height: 900 });
  const session = await page.context().newCDPSession(page);
  await page.addInitScript(() => {
    globalThis.tasks = [];
    new PerformanceObserver((list) => globalThis.tasks.push(...list.getEntries().map(({ startTime, duration }) => [startTime, duration]))).observe({ entryTypes: ["longtask"] });
    globalThis.seen = {};
    const watch = () => {
      if (!globalThis.seen.nodes && document.querySelector(".box-head")) globalThis.seen.nodes = performance.now();
      if (!globalThis.seen.live && document.querySelector('[data-state="live"]')) globalThis.seen.live = performance.now();
      if (!globalThis.seen.live) requestAnimationFrame(watch);
    };
    watch();
  });
  const longTasks = async (since = 0) => {
    const tasks = await page.evaluate((from) => globalThis.tasks.filter(([start]) => start >= from).map(([, duration]) => Math.round(duration)), since);
    return `${tasks.length} of over 50 ms${tasks.length ? `, the longest ${Math.max(...tasks)} ms` : ""}`;
  };
  const clock = () => page.evaluate(() => performance.now());
  const heap = async () => {
    await session.send("HeapProfiler.enable");
    await session.send("HeapProfiler.collectGarbage");
    return (await session.send("Runtime.getHeapUsage")).usedSize / 1e6;
  };

  for (const [label, again] of [["first visit", false], ["again", true]]) {
    if (again) await page.reload();
    else await page.goto(server.url + values.path);
    await live(page);
    const seen = await page.evaluate(() => globalThis.seen);
    console.log(`${shards} shards, ${nodes} nodes, ${label}: nodes and counts ${Math.round(seen.nodes ?? NaN)} ms, all listed and followed ${Math.round(seen.live)} ms; tasks: ${await longTasks()}`);
  }
  await pause(1_000);

  // Moves many in one change, as a plan does.
  const versions = new Map(Array.from({ length: shards }, (_, number) => [number, 1]));
  const moved = async (from, count) => {
    const some = Array.from({ length: count }, (_, index) => (from + index) % shards);
    const patches = some.map((number) => ({ ...key(number), expectedVersion: String(versions.get(number)), ownerNodeId: name((number + versions.get(number)) % nodes) }));
    const { updateShards } = await server.send("UpdateShards", { input: { shards: patches, change } });
    if (updateShards.__typename !== "ShardsChanged") throw new Error(JSON.stringify(updateShards).slice(0, 500));
    for (const number of some) versions.set(number, versions.get(number) + 1);
    return updateShards.revision;
  };
  const shows = (revision) => page.waitForFunction((wanted) => document.querySelector(".position .revision")?.textContent === wanted, `r${revision}`, { timeout: 60_000 });
  let began = await clock();
  const at = Date.now();
  await shows(await moved(0, 1_000));
  console.log(`a change of 1,000 shards: shown ${Date.now() - at} ms after it was sent; tasks: ${await longTasks(began)}`);

  began = await clock();
  const before = await heap();
  const frames = page.evaluate((milliseconds) => new Promise((resolve) => {
    let count = 0;
    const end = performance.now() + milliseconds;
    const next = () => { count += 1; if (performance.now() < end) requestAnimationFrame(next); else resolve(count); };
    requestAnimationFrame(next);
  }), minutes * 60_000);
  const until = Date.now() + minutes * 60_000;
  let last;
  let sent = 0;
  let minute = Date.now() + 60_000;
  while (Date.now() < until) {
    const started = Date.now();
    last = await moved(1_000 + sent, Math.max(1, Math.round(rate / 5)));
    sent += Math.max(1, Math.round(rate / 5));
    if (Date.now() > minute) {
      minute += 60_000;
      console.log(`  heap ${(await heap()).toFixed(1)} MB`);
    }
    await pause(Math.max(0, 200 - (Date.now() - started)));
  }
  await shows(last);
  const painted = await frames;
  const dom = await page.evaluate(() => document.querySelectorAll("*").length);
  console.log(`${sent} diffs in ${minutes} min (${(sent / minutes / 60).toFixed(0)}/s): ${(painted / minutes / 60).toFixed(0)} frames/s; tasks: ${await longTasks(began)}; heap ${before.toFixed(1)} -> ${(await heap()).toFixed(1)} MB; DOM ${dom}`);
  const compared = Number(values.compare);
  if (compared > 0) {
    const { revision } = (await server.send("StreamHead")).head;
    for (let first = 0; first < compared; first += A_CHANGE) await moved(first, Math.min(A_CHANGE, compared - first));
    const opened = Date.now();
    await page.goto(`${server.url}/time?at=${revision}&show=list`);
    const counts = page.locator(".time-filters [role=status]");
    await counts.waitFor({ timeout: 120_000 });
    const elements = await page.evaluate(() => document.querySelectorAll("*").length);
    console.log(`compared after ${Date.now() - opened} ms: ${await counts.textContent()}; tasks: ${await longTasks()}; heap ${(await heap()).toFixed(1)} MB; DOM ${elements}`);
    const asMap = Date.now();
    await page.getByRole("button", { name: "Map as at A" }).click();
    await page.locator(".as-at, .verdict.blocked").first().waitFor();
    console.log(`as a map after ${Date.now() - asMap} ms: ${(await page.locator(".as-at").count()) ? "shown" : "left out, for not all is read"}`);
  }
  if (page.errors.length || page.strangers.length) console.log("errors", page.errors, page.strangers);
  if (process.env.SHOT) await page.screenshot({ path: process.env.SHOT });
} finally {
  await browser.close();
  await server.close();
}
