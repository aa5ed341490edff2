// A shard's page: who owns it, since when and why, what was done to it, and what may be done.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Browser, Server, open, violations } from "./harness.mjs";

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([Server.start(), Browser.launch()]);
});

after(async () => {
  await browser?.close();
  await server?.close();
});

async function closed(page) {
  assert.deepEqual(page.errors, []);
  assert.deepEqual(page.strangers, []);
  await page.context().close();
}

test("a list of all shards is narrowed by name, namespace and node, in the address", async () => {
  const page = await browser.page(server);
  await open(page, server, "/shards");
  await page.getByLabel("Search").fill("orders-00");
  await page.getByText("10 of 1,536 shards").waitFor();
  assert.equal(new URL(page.url()).searchParams.get("q"), "orders-00");
  await page.getByRole("link", { name: "orders/orders-007" }).click();
  await page.getByRole("heading", { level: 1, name: "orders/orders-007" }).waitFor();
  await closed(page);
});

test("a shard's page says who owns it, since when and why, and what was done with it before and after", async () => {
  const { ownerNodeId: before } = await server.shard("orders", "orders-011");
  const node = before === "node-eu-3" ? "node-us-1" : "node-eu-3";
  const page = await browser.page(server);
  await open(page, server, "/shards/orders/orders-011");
  await page.getByText("by demo").waitFor();
  await server.move("orders", "orders-012", node, "another of the same ticket");
  const revision = await server.move("orders", "orders-011", node, "a hot shard");
  // As it happens: the page follows.
  await page.locator(".shard-owner", { hasText: 'by alice (CHG-9000): "a hot shard"' }).waitFor();
  assert.match(await page.locator(".shard-owner").textContent(), new RegExp(`^${node} since `));
  const newest = page.locator(".event").first();
  await newest.getByRole("button", { name: `${before} → ${node}` }).waitFor();
  const owner = newest.getByRole("row", { name: /^Owner / }).first();
  assert.match(await owner.textContent(), new RegExp(`^Owner${before}${node}$`));
  await page.getByRole("heading", { name: "Also under CHG-9000" }).waitFor();
  await page.getByText('"another of the same ticket"').waitFor();
  const candidates = page.getByRole("table", { name: "Nodes that could own it" });
  await candidates.waitFor();
  assert.equal(await candidates.getByRole("row").count(), 8);
  assert.deepEqual(await violations(page), []);

  await page.locator(".event").nth(1).getByRole("button", { name: /created/ }).click();
  await page.getByRole("button", { name: "As it was" }).click();
  await page.waitForURL(/at=\d+/);
  assert.notEqual(new URL(page.url()).searchParams.get("at"), revision);
  await page.locator(".shard-owner", { hasText: before }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Move" }).count(), 0);
  await closed(page);
});

test("a move that comes too late says who was faster, and goes on from there", async () => {
  const page = await browser.page(server);
  await open(page, server, "/shards/orders/orders-013");
  await page.getByRole("button", { name: "Move" }).click();
  await page.getByLabel("To node").selectOption("node-ap-2");
  await page.getByLabel("Reason").fill("to have it nearer");
  await page.getByLabel("Actor").fill("bob");
  assert.deepEqual(await violations(page), []);
  await server.move("orders", "orders-013", "node-us-2", "faster");
  await page.getByRole("button", { name: "Move to node-ap-2" }).click();
  await page.getByText("alice changed it meanwhile (CHG-9000); it is at version 2 now.").waitFor();
  assert.match(await page.getByRole("alert").textContent(), /^Not moved: /);
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: "Use version 2" }).click();
  await page.getByRole("button", { name: "Move to node-ap-2" }).click();
  await page.locator(".shard-owner", { hasText: 'by bob: "to have it nearer"' }).waitFor();
  assert.equal((await server.shard("orders", "orders-013")).ownerNodeId, "node-ap-2");
  await closed(page);
});

test("a shard that there is not is said not to be", async () => {
  const page = await browser.page(server);
  await open(page, server, "/shards/orders/none-of-them");
  await page.getByText("There is no shard orders/none-of-them now.").waitFor();
  assert.deepEqual(await violations(page), []);
  await closed(page);
});

test("what a rule refuses is forced with a reason and the name typed", async () => {
  const [begins, ends] = [-1, 1].map((hours) => new Date(Date.now() + hours * 3_600_000).toISOString());
  await server.configure("telemetry", { freezes: [{ begins, ends, reason: "the books are closed" }] });
  const page = await browser.page(server);
  await open(page, server, "/shards/telemetry/telemetry-003");
  await page.getByRole("button", { name: "Move" }).click();
  await page.getByLabel("To node").selectOption("node-ap-2");
  await page.getByLabel("Reason").fill("its node burns");
  await page.getByLabel("Actor").fill("bob");
  await page.getByRole("button", { name: "Move to node-ap-2" }).click();
  assert.match(await page.getByRole("alert").textContent(), /^Not moved: telemetry is frozen/);
  assert.equal(await page.getByLabel("Why it is forced").count(), 0);
  await page.getByRole("button", { name: "Force it" }).click();
  const deed = page.getByRole("button", { name: "Force: Move to node-ap-2" });
  await page.getByLabel("Why it is forced").fill("nobody reads these books");
  assert.ok(await deed.isDisabled());
  await page.getByLabel("Type telemetry/telemetry-003 to confirm").fill("telemetry/telemetry-003");
  assert.deepEqual(await violations(page), []);
  await deed.click();
  await page.locator(".shard-owner", { hasText: "FORCED" }).waitFor();
  const { changes } = await server.send("ListChanges", { first: 1 });
  assert.equal(changes.nodes[0].forced, "nobody reads these books");
  await closed(page);
});

test("a shard is deleted once its name is typed", async () => {
  const page = await browser.page(server);
  await open(page, server, "/shards/orders/orders-019");
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByLabel("Reason").fill("split in two");
  await page.getByLabel("Actor").fill("bob");
  const deed = page.locator("dialog").getByRole("button", { name: "Delete orders/orders-019" });
  assert.ok(await deed.isDisabled());
  await page.getByLabel("Type orders/orders-019 to confirm").fill("orders/orders-019");
  assert.deepEqual(await violations(page), []);
  await deed.click();
  await page.getByText("There is no shard orders/orders-019 now.").waitFor();
  assert.equal(await server.shard("orders", "orders-019"), null);
  await closed(page);
});

test("a node is cordoned, and removed once it owns nothing", async () => {
  const page = await browser.page(server);
  await open(page, server, "/?node=node-ap-2");
  await page.getByRole("button", { name: "Cordon" }).click();
  await page.getByLabel("Reason").fill("its disk fails");
  await page.getByLabel("Actor").fill("bob");
  await page.getByRole("button", { name: "Cordon: node-ap-2" }).click();
  await page.locator(".box-head", { hasText: "node-ap-2" }).getByText("CORDONED").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: "Remove" }).click();
  await page.getByLabel("Reason").fill("gone");
  await page.getByLabel("Type node-ap-2 to confirm").fill("node-ap-2");
  await page.getByRole("button", { name: "Remove: node-ap-2" }).click();
  assert.match(await page.getByRole("alert").textContent(), /^Not removed: .*Drain the node first/);
  await page.getByRole("button", { name: "Cancel" }).click();

  const change = { reason: "new hardware", actor: "alice" };
  await server.send("RegisterNode", { input: { nodeId: "node-new-1", region: "eu-west", change } });
  await open(page, server, "/?node=node-new-1");
  await page.getByRole("button", { name: "Remove" }).click();
  await page.getByLabel("Reason").fill("never used");
  await page.getByLabel("Type node-new-1 to confirm").fill("node-new-1");
  await page.getByRole("button", { name: "Remove: node-new-1" }).click();
  await page.waitForURL((url) => url.searchParams.get("node") === null);
  assert.equal((await server.send("NodeDetails", { nodeId: "node-new-1" })).node.status, "REMOVED");
  await closed(page);
});
