// The mesh as it was, and what differs between two moments.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Browser, Server, isOf, open, violations } from "./harness.mjs";

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

const boxOf = async (page, node) => (await page.locator(".as-boxes li", { hasText: node }).locator(".sr").textContent()).replaceAll(",", "");

test("the map is as it was, the difference is counted, and steps go from change to change", async () => {
  const first = await server.shard("orders", "orders-020");
  const [one, two] = ["node-eu-1", "node-us-1", "node-ap-1"].filter((node) => node !== first.ownerNodeId);
  const before = String((await server.send("StreamHead")).head.revision);
  const revisions = [];
  for (const [shard, node] of [["orders-020", one], ["orders-020", two], ["orders-021", "node-eu-3"]]) revisions.push(await server.move("orders", shard, node));

  const page = await browser.page(server, { height: 1_000 });
  await open(page, server, `/time?at=${before}&ns=orders`);
  await page.getByText("2 moved", { exact: true }).waitFor();
  assert.match(await boxOf(page, "node-eu-3"), /^node-eu-3: 0 shards$/);
  assert.match(await boxOf(page, first.ownerNodeId), / not at B$/);
  assert.deepEqual(await violations(page), []);

  await page.getByRole("button", { name: "change >" }).click();
  await page.waitForURL((url) => url.searchParams.get("at") === revisions[0]);
  await page.getByText("2 moved", { exact: true }).waitFor();
  await page.keyboard.press("]");
  await page.waitForURL((url) => url.searchParams.get("at") === revisions[1]);
  await page.getByText("1 moved", { exact: true }).waitFor();
  await page.getByText("alice").first().waitFor();
  await page.keyboard.press("[");
  await page.waitForURL((url) => url.searchParams.get("at") === revisions[0]);

  // Between two moments of the past the map is as at the first.
  await page.getByLabel("B, the later moment: Revision or time").fill(`r${revisions[1]}`);
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.searchParams.get("vs") === revisions[1]);
  await page.getByText("1 moved", { exact: true }).waitFor();
  assert.match(await boxOf(page, one), / 1 not at B$/);
  assert.match(await boxOf(page, "node-eu-3"), /^node-eu-3: 0 shards$/);

  await page.getByRole("button", { name: "From and to" }).click();
  const table = page.getByRole("table", { name: /Shards by the node/ });
  assert.equal(await table.getByRole("row", { name: new RegExp(`^${one}`) }).count(), 1);
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: "List" }).click();
  await page.getByRole("link", { name: "orders/orders-020" }).waitFor();
  assert.deepEqual(await violations(page), []);
  await closed(page);
});

test("of a history of minutes the middle is shown first, and what lies before it is not gone to", async () => {
  const page = await browser.page(server);
  const compared = page.waitForRequest((request) => isOf(request, "DiffOwners"));
  await open(page, server, "/time");
  const { fromTime } = (await compared).postDataJSON().variables;
  const { head } = await server.send("StreamHead");
  assert.ok(Date.parse(fromTime) > Date.parse(head.oldestAt) + 2, `${fromTime} is before the first change, at ${head.oldestAt}`);
  assert.equal(await page.getByRole("button", { name: "1 d ago" }).isDisabled(), true);
  assert.equal(await page.getByRole("button", { name: "1 h ago" }).isDisabled(), true);
  await page.locator(".as-at").waitFor();
  assert.deepEqual(await violations(page), []);
  await closed(page);
});

test("what is looked at holds still while the mesh changes, and a thumb moves the moment", async () => {
  const page = await browser.page(server, { width: 390, height: 844 });
  const at = String((await server.send("StreamHead")).head.revision);
  await open(page, server, `/time?at=${at}&ns=sessions`);
  await page.getByText("Nothing differs between the two.").waitFor();
  const revision = await server.move("sessions", "sessions-020", "node-eu-3");
  await page.waitForFunction((wanted) => document.querySelector(".position .revision").textContent === wanted, `r${revision}`);
  await page.getByText("Nothing differs between the two.").waitFor();
  await page.getByRole("button", { name: "B is now" }).click();
  await page.getByText("1 moved", { exact: true }).waitFor();
  const thumb = page.getByRole("slider", { name: "A, the earlier moment" });
  await thumb.focus();
  await page.keyboard.press("Home");
  await page.waitForURL((url) => /^\d{4}-/.test(url.searchParams.get("at") ?? ""));
  const [scrolled, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(scrolled <= shown, `${scrolled} wide`);
  assert.deepEqual(await violations(page), []);
  await closed(page);
});

test("steps that are pressed while the page is still reading are made once it has read", async () => {
  const start = await server.move("sessions", "sessions-040", "node-eu-3");
  const revisions = [];
  for (const node of ["node-us-1", "node-ap-1", "node-eu-3"]) revisions.push(await server.move("sessions", "sessions-040", node));
  const page = await browser.page(server);
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await page.route("**/graphql", async (route) => {
    if (isOf(route.request(), "ChangesAround")) await held;
    await route.continue();
  });
  await open(page, server, `/time?at=${start}&ns=sessions`);
  await page.getByText("Map as at A").waitFor();
  await page.keyboard.press("]");
  await page.keyboard.press("]");
  await page.getByRole("button", { name: "change >" }).click();
  release();
  await page.waitForURL((url) => url.searchParams.get("at") === revisions[2]);
  await page.keyboard.press("[");
  await page.keyboard.press("[");
  await page.waitForURL((url) => url.searchParams.get("at") === revisions[0]);
  // There is one more as soon as it is made.
  await page.keyboard.press("]");
  await page.keyboard.press("]");
  await page.waitForURL((url) => url.searchParams.get("at") === revisions[2]);
  await page.waitForFunction(() => [...document.querySelectorAll(".steps button")].some((button) => button.disabled));
  const last = await server.move("sessions", "sessions-040", "node-us-1");
  await page.getByRole("button", { name: "change >" }).click();
  await page.waitForURL((url) => url.searchParams.get("at") === last);
  await closed(page);
});

test("nodes are on the map as they were registered then", async () => {
  const before = await server.move("sessions", "sessions-041", "node-eu-3");
  await server.move("sessions", "sessions-041", "node-us-1");
  const { node } = await server.send("NodeDetails", { nodeId: "node-ap-2" });
  const change = { reason: "its disk fails", actor: "alice" };
  const input = { nodeId: "node-ap-2", expectedVersion: node.version, status: "CORDONED", weight: 7, zone: "elsewhere", change };
  const { updateNode } = await server.send("UpdateNode", { input });
  assert.equal(updateNode.__typename, "NodeChanged", JSON.stringify(updateNode));
  const after = await server.move("sessions", "sessions-041", "node-eu-3");
  const page = await browser.page(server);
  const box = page.locator(".as-boxes li", { hasText: "node-ap-2" });
  await open(page, server, `/time?at=${before}&ns=sessions`);
  await box.getByText(`weight ${node.weight}`).waitFor();
  assert.equal(await box.getByText("CORDONED").count(), 0);
  await open(page, server, `/time?at=${after}&ns=sessions`);
  await box.getByText("CORDONED").waitFor();
  await box.getByText("elsewhere, weight 7").waitFor();
  assert.deepEqual(await violations(page), []);
  await closed(page);
});

test("of more differences than are read, it is said which are shown, and how there would be fewer", async () => {
  const page = await browser.page(server);
  let pages = 0;
  await page.route("**/graphql", async (route) => {
    if (!isOf(route.request(), "DiffOwners")) return route.continue();
    const first = 500 * pages;
    pages += 1;
    const nodes = Array.from({ length: 500 }, (_, index) => ({
      namespace: "orders",
      shardId: `s${String(first + index).padStart(6, "0")}`,
      changedFields: ["ownerNodeId"],
      previous: { ownerNodeId: "node-eu-1" },
      current: { ownerNodeId: "node-eu-2" },
      change: { actor: "alice", reason: "hot", changeTicket: null, committedAt: "2026-11-27T10:00:00Z" },
    }));
    await route.fulfill({ json: { data: { shardDiff: { pageInfo: { hasNextPage: true, endCursor: String(pages) }, nodes } } } });
  });
  await open(page, server, "/time?show=list");
  await page.getByText("More than 20,000 shards differ.", { exact: false }).waitFor();
  await page.getByText("At least 20,000 moved").waitFor();
  assert.equal(pages, 40);
  await page.getByRole("link", { name: "orders/s000000" }).waitFor();
  assert.ok((await page.locator("*").count()) < 1_500);
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: "Map as at A" }).click();
  assert.equal(await page.locator(".as-at").count(), 0, "a map of what is not known");
  await page.unroute("**/graphql");
  await page.getByRole("button", { name: "Only orders" }).click();
  await page.waitForURL((url) => url.searchParams.get("ns") === "orders");
  await page.locator(".as-at").waitFor();
  await closed(page);
});
