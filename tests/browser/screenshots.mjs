// Takes the pictures of the README, of a demo mesh in which something is going on: `make screenshots`.
import { fileURLToPath } from "node:url";

import { graphiql, runUntil, select, until } from "./graphiql.mjs";
import { Browser, Server, open } from "./harness.mjs";

const FOLDER = fileURLToPath(new URL("../../docs/images/", import.meta.url));
const alice = { actor: "alice", changeTicket: "CHG-2001" };

const server = await Server.start();
const browser = await Browser.launch();
try {
  const { node } = await server.send("NodeDetails", { nodeId: "node-eu-1" });
  const drain = { nodeId: "node-eu-1", expectedVersion: node.version, change: { ...alice, reason: "kernel update" } };
  await server.send("DrainNode", { input: drain });
  const { namespace } = await server.send("NamespaceDetails", { name: "telemetry" });
  const hour = 3_600_000;
  const at = (hours) => new Date(Date.now() + hours * hour).toISOString();
  const freezes = [{ begins: at(-1), ends: at(5), reason: "the sensors are calibrated" }];
  const { name, strategy, strategyParameters, version } = namespace;
  const configured = { name, strategy, strategyParameters, expectedVersion: version, policy: { freezes } };
  await server.send("ConfigureNamespace", { input: { ...configured, change: { ...alice, reason: "calibration" } } });
  for (const [shardId, patch] of [["orders-003", { pin: { reason: "hot shard" } }], ["orders-012", { status: "PAUSED" }]]) {
    const { version: expectedVersion } = await server.shard("orders", shardId);
    const input = { namespace: "orders", shardId, expectedVersion, ...patch, change: { ...alice, reason: "hot shard" } };
    await server.send("UpdateShard", { input });
  }
  await server.move("orders", "orders-007", "node-eu-2", "hot shard");
  const change = { actor: "bob", changeTicket: "CHG-2001", reason: "vacate node-eu-1" };
  const { planRebalance } = await server.send("PlanRebalance", { input: { namespaces: ["orders"], change }, details: false });
  const plan = planRebalance.plan?.id ?? "";

  const pictures = {
    mesh: "/?sel=orders/orders-007",
    live: "/live",
    shard: "/shards/orders/orders-007",
    time: "/time?at=1617",
    plan: `/plans/${plan}`,
    governance: "/governance",
  };
  const page = await browser.page(server);
  for (const [picture, path] of Object.entries(pictures)) {
    await open(page, server, path);
    await page.waitForLoadState("networkidle").catch(() => undefined);
    if (picture === "mesh") await page.waitForFunction(() => / for /.test(document.querySelector(".detail")?.textContent ?? ""));
    await page.screenshot({ path: `${FOLDER}dashboard-${picture}.png` });
    console.log(`docs/images/dashboard-${picture}.png of ${path}`);
  }

  const queries = await graphiql(browser, server);
  await queries.setViewportSize({ width: 1280, height: 800 });
  await select(queries, "WatchShards");
  await runUntil(queries, /"status": "live;/);
  await server.move("orders", "orders-007", "node-us-1", "see a live diff");
  await until(queries, /"changedFields"/);
  await queries.screenshot({ path: `${FOLDER}graphiql-live-diff.png` });
  console.log("docs/images/graphiql-live-diff.png of /graphql");
} finally {
  await browser.close();
  await server.close();
}
