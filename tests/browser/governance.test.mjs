// Rules, freezes, refusals and the audit log: what is frozen, what was refused and why, who did what.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
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

test("a freeze is on the page as soon as it is made, in the sentence, the rules and the calendar", async () => {
  const page = await browser.page(server);
  await open(page, server, "/governance");
  await page.getByText("Nothing is frozen now.").waitFor();
  assert.deepEqual(await violations(page), []);
  const at = (hours) => new Date(Date.now() + hours * 3_600_000).toISOString();
  await server.configure("orders", {
    ticketRequired: true,
    ticketPattern: "CHG-\\d+",
    freezes: [{ begins: at(-1), ends: at(30), reason: "the books are closed" }],
    recurringFreezes: [{ schedule: "0 18 * * fri", duration: "PT8H", timeZone: "Europe/Berlin", reason: "friday night" }],
  });
  await page.locator(".frozen-now", { hasText: /FROZEN orders until .* \(the books are closed\)/ }).waitFor();
  assert.match(await page.getByRole("row", { name: /^orders/ }).textContent(), /CHG-\\d\+.*FROZEN until/);
  assert.ok((await page.locator(".calendar .freeze").count()) >= 3);
  await page.getByText("0 18 * * fri for PT8H, Europe/Berlin").waitFor();
  assert.deepEqual(await violations(page), []);
  await closed(page);
});

test("a freeze to come, and one that comes again, are on the mesh", async () => {
  const page = await browser.page(server);
  await open(page, server, "/");
  const at = (hours) => new Date(Date.now() + hours * 3_600_000);
  await server.configure("telemetry", { freezes: [{ begins: at(2).toISOString(), ends: at(3).toISOString(), reason: "release night" }] });
  await page.getByRole("link", { name: /^telemetry freezes at / }).click();
  assert.match(await page.getByRole("row", { name: /^telemetry/ }).textContent(), /from /);
  await page.getByRole("link", { name: "Mesh", exact: true }).click();
  await server.configure("telemetry", {
    freezes: [],
    recurringFreezes: [{ schedule: `0 ${at(-1).getUTCHours()} * * *`, duration: "PT6H", timeZone: "UTC", reason: "every day" }],
  });
  await page.getByRole("link", { name: /^FROZEN telemetry until / }).waitFor();
  await server.configure("telemetry", { recurringFreezes: [] });
  await closed(page);
});

test("a refusal says which rules were in the way, and what helps", async () => {
  await server.configure("sessions", { ticketRequired: true });
  const { version } = await server.shard("sessions", "sessions-030");
  const change = { reason: "nearer to its users", actor: "alice" };
  const input = { namespace: "sessions", shardId: "sessions-030", expectedVersion: version, ownerNodeId: "node-eu-3", change };
  assert.equal((await server.send("UpdateShard", { input })).updateShard.__typename, "PolicyViolation");
  const page = await browser.page(server, { width: 390, height: 844 });
  await open(page, server, "/governance?tab=refusals&ns=sessions");
  const row = page.getByRole("table", { name: "What was refused" }).getByRole("row", { name: /nearer to its users/ });
  await row.waitFor();
  assert.match(await row.textContent(), /alice.*update.*sessions takes changes under a ticket only\..*ticket/);
  const [scrolled, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(scrolled <= shown, `${scrolled} wide`);
  assert.deepEqual(await violations(page), []);
  await closed(page);
});

test("the audit log is searched in the address, shows the head of its chain, and is exported", async () => {
  const page = await browser.page(server);
  await open(page, server, "/governance?tab=audit");
  const table = page.getByRole("table", { name: "Audit log" });
  await table.waitFor();
  const { changes } = await server.send("ListChanges", { first: 1 });
  await page.locator(".chain-head", { hasText: `change ${changes.nodes[0].id} ${changes.nodes[0].hash.slice(0, 16)}` }).waitFor();
  await page.getByLabel("Search").fill("kernel update is done");
  await page.waitForFunction(() => document.querySelectorAll(".audit tbody tr").length === 1);
  assert.equal(new URL(page.url()).searchParams.get("q"), "kernel update is done");
  assert.match(await table.getByRole("row").last().textContent(), /alice.*CHG-1043.*kernel update is done/);
  await page.getByLabel("Ticket").fill("CHG-1043");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "JSON Lines" }).click()]);
  const lines = (await readFile(await download.path(), "utf8")).trim().split("\n").map((line) => JSON.parse(line));
  assert.ok(lines.length > 2);
  assert.match(JSON.stringify(lines.at(-1)), /manifest/);
  assert.deepEqual(await violations(page), []);
  await closed(page);
});

test("however far back the audit log is read, one page of it is there, and no press for older ones is lost", async () => {
  for (let number = 0; number < 101; number += 1) {
    await server.move("telemetry", "telemetry-001", number % 2 ? "node-eu-3" : "node-us-1", `to and fro ${number}`, "dora");
  }
  const page = await browser.page(server);
  await open(page, server, "/governance?tab=audit&actor=dora");
  const rows = page.locator(".audit tbody tr");
  await page.getByText("to and fro 100").waitFor();
  assert.equal(await rows.count(), 50);
  const older = page.getByRole("button", { name: "Older >" });
  await older.evaluate((button) => {
    button.click();
    button.click();
  });
  await page.getByText("to and fro 0", { exact: true }).waitFor();
  assert.equal(await rows.count(), 1);
  await page.getByText("Page 3", { exact: true }).waitFor();
  assert.ok(await older.isDisabled());
  assert.deepEqual(await violations(page), []);
  // What is made meanwhile moves nothing on a page that is further back.
  await server.move("telemetry", "telemetry-001", "node-us-1", "to and fro 101", "dora");
  await page.getByRole("button", { name: "< Newer" }).click();
  await page.getByText("to and fro 50", { exact: true }).waitFor();
  assert.equal(await rows.count(), 50);
  await page.getByRole("button", { name: "Newest" }).click();
  await page.getByText("to and fro 101").waitFor();
  await closed(page);
});
