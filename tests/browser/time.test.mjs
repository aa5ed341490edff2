// The mesh as it was, and what differs between two moments.
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

const boxOf = async (page, node) => (await page.locator(".as-boxes li", { hasText: node }).locator(".sr").textContent()).replaceAll(",", "");

/** The change that made this revision is shown, and with it the next and the one before are known: a key that steps to
 * one that is not read yet does nothing. */
const stepped = (page, revision) => page.locator(".latest", { hasText: new RegExp(`\\br${revision}\\b`) }).waitFor();

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
  await stepped(page, revisions[0]);
  await page.getByText("2 moved", { exact: true }).waitFor();
  await page.keyboard.press("]");
  await page.waitForURL((url) => url.searchParams.get("at") === revisions[1]);
  await stepped(page, revisions[1]);
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
