// Plans: what they move, and their way from a proposal to the last wave, by tokens that may do one part of it each.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";

import { Browser, Server, live, violations } from "./harness.mjs";

const SECRET = "a secret of at least thirty-two bytes, for a test";

function tokenOf(sub, ...scopes) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub, scope: ["mesh.read", ...scopes].join(" "), exp: Math.floor(Date.now() / 1000) + 3_600 };
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

const ADMIN = tokenOf("carol", "mesh.admin", "mesh.operate");
const OPERATOR = tokenOf("bob", "mesh.operate");
const APPROVER = tokenOf("alice", "mesh.approve");

let server;
let browser;

async function configure(policy) {
  const { namespace } = await server.send("NamespaceDetails", { name: "orders" }, ADMIN);
  const { strategy, strategyParameters, version: expectedVersion } = namespace;
  const change = { reason: "plans are looked at by two" };
  const given = { approvalRequired: true, moveBudgetPercent: 8, ...policy };
  const input = { name: "orders", strategy, strategyParameters, expectedVersion, policy: given, change };
  const { configureNamespace } = await server.send("ConfigureNamespace", { input }, ADMIN);
  assert.equal(configureNamespace.__typename, "NamespaceConfigured", JSON.stringify(configureNamespace));
}

before(async () => {
  [server, browser] = await Promise.all([Server.start({ environment: { OMNIRELAY_AUTH_SECRET: SECRET } }), Browser.launch()]);
  await configure({});
});

after(async () => {
  await browser?.close();
  await server?.close();
});

async function openWith(token, path, options) {
  const page = await browser.page(server, options);
  await page.goto(server.url + path);
  await page.getByRole("button", { name: "Paste a token" }).click();
  await page.getByLabel("Bearer token").fill(token);
  await page.getByRole("button", { name: "Use", exact: true }).click();
  await live(page);
  return page;
}

async function closed(page) {
  // Before the token was given, what was asked for was refused: the browser writes that on the console.
  assert.deepEqual(page.errors.filter((error) => !/401|WebSocket/.test(error)), []);
  assert.deepEqual(page.strangers, []);
  await page.context().close();
}

test("a plan is proposed and applied in waves by one token, and approved by another", async () => {
  const operator = await openWith(OPERATOR, "/plans/new?ns=orders");
  await operator.getByText(/A plan made now moves \d+ of 512 shards/).waitFor();
  assert.deepEqual(await violations(operator), []);
  await operator.getByRole("button", { name: /^Propose \d+ moves$/ }).click();
  await operator.getByLabel("Reason").fill("spread over all nodes");
  assert.equal(await operator.getByLabel("Actor").count(), 0, "the token says who");
  await operator.locator("dialog").getByRole("button", { name: /^Propose/ }).click();
  await operator.waitForURL(/\/plans\/[0-9a-f]{32}$/);
  const path = new URL(operator.url()).pathname;
  assert.equal(`/plans/${await operator.locator(".head code").textContent()}`, path, "the whole id can be copied");
  await operator.getByText(/^placement changed: Since its owner was set, nodes/).waitFor();

  // What stands in the way is said before anything is pressed, and what the token may not do is not offered.
  await operator.getByText(/orders takes a plan only once it is approved/).waitFor();
  assert.equal(await operator.getByRole("button", { name: "Approve" }).count(), 0);
  await operator.getByText("This token may not approve; that takes mesh.approve.").waitFor();
  await operator.getByText("waits for wave 1").waitFor();
  await operator.getByRole("columnheader", { name: "Peak" }).waitFor();
  assert.deepEqual(await violations(operator), []);
  assert.equal(await operator.getByRole("button", { name: /^Apply/ }).count(), 0, "it is offered once nothing blocks it");

  const approver = await openWith(APPROVER, path);
  await approver.getByRole("button", { name: "Approve" }).waitFor();
  assert.equal(await approver.getByRole("button", { name: /^Apply/ }).count(), 0);
  await approver.getByRole("button", { name: "Approve" }).click();
  await approver.getByLabel("Reason").fill("looked at it");
  await approver.locator("dialog").getByRole("button", { name: "Approve" }).click();
  await approver.getByText("APPROVED", { exact: true }).waitFor();

  await approver.getByText(/^Approved by alice .*: "looked at it"$/).waitFor();

  // The operator's page follows by itself.
  await operator.getByText("APPROVED", { exact: true }).waitFor();
  await operator.getByText(/Nothing stands in the way: the next wave moves \d+ shards/).waitFor();
  await operator.getByRole("button", { name: /^Apply \d+$/ }).click();
  await operator.getByLabel("Reason").fill("the first wave");
  // Frozen between the look and the deed: the refusal is a sentence, with what helps.
  const [begins, ends] = [-1, 1].map((hours) => new Date(Date.now() + hours * 3_600_000).toISOString());
  await configure({ freezes: [{ begins, ends, reason: "the books are closed" }] });
  await operator.locator("dialog").getByRole("button", { name: /^Apply \d+$/ }).click();
  const alert = operator.getByRole("alert");
  await alert.waitFor();
  assert.match(await alert.textContent(), /^Not applied: orders is frozen: .*the books are closed.* Wait until/);
  assert.deepEqual(await violations(operator), []);
  await configure({});
  await operator.locator("dialog").getByRole("button", { name: /^Apply \d+$/ }).click();
  await operator.getByText("APPLYING", { exact: true }).waitFor();

  await operator.getByRole("button", { name: "Stop" }).click();
  await operator.getByLabel("Reason").fill("a look in between");
  await operator.locator("dialog").getByRole("button", { name: "Stop" }).click();
  await operator.getByText("STOPPED", { exact: true }).waitFor();
  await approver.getByText("STOPPED", { exact: true }).waitFor();
  assert.deepEqual(await violations(approver), []);

  await operator.getByRole("button", { name: /^Resume: apply \d+$/ }).click();
  await operator.getByLabel("Reason").fill("all is well");
  const goOn = operator.getByLabel(/Then wave after wave/);
  if ((await goOn.count()) > 0) await goOn.check();
  await operator.locator("dialog").getByRole("button", { name: /^Resume/ }).click();
  await operator.getByText("APPLIED", { exact: true }).waitFor();
  const { rebalancePlan } = await server.send("PlanHistory", { id: path.slice("/plans/".length) }, OPERATOR);
  assert.equal(rebalancePlan.movesMade, rebalancePlan.moveCount);
  const life = rebalancePlan.changes.nodes.map(({ kind, actor }) => `${kind} ${actor}`).reverse();
  assert.deepEqual(life.slice(0, 4), ["PLAN_REBALANCE bob", "APPROVE_PLAN alice", "APPLY_PLAN bob", "STOP_PLAN bob"]);
  await operator.getByText(/All of its moves were made, the last by bob/).waitFor();
  assert.deepEqual(await violations(operator), []);

  await operator.getByRole("button", { name: "Roll back" }).first().click();
  await operator.getByLabel("Reason").fill("it was better before");
  await operator.getByRole("button", { name: "Make the plan" }).click();
  await operator.getByText(/Takes back what was done/).waitFor();
  await closed(operator);
  await closed(approver);
});

test("before a plan is made it is said which freezes, budgets and approvals it will meet", async () => {
  const hour = 3_600_000;
  const at = (hours) => new Date(Date.now() + hours * hour).toISOString();
  await configure({ freezes: [{ begins: at(-1), ends: at(5), reason: "the till is counted" }], moveBudgetPercent: 0.2, windowMoves: 3 });
  const page = await openWith(OPERATOR, "/plans/new?drain=node-us-2");
  const rules = page.getByRole("region", { name: "Rules in force" });
  await rules.getByText(/FROZEN orders until .*: "the till is counted"/).waitFor();
  await rules.getByText(/orders: one change moves 2 shards at most \(0.2 %\), so that \d+ take several waves/).waitFor();
  await rules.getByText(/orders: \d of 3 moves in .* are used, and this takes \d+/).waitFor();
  await rules.getByText("orders: it is applied only once another has approved it.").waitFor();
  assert.deepEqual(await violations(page), []);
  await configure({});
  await rules.getByText(/FROZEN orders/).waitFor({ state: "detached" });
  await closed(page);
});

test("a new plan shows what draining a node would move before it is drained, and does both", async () => {
  const page = await openWith(OPERATOR, "/plans/new?drain=node-us-2", { width: 390, height: 844 });
  await page.getByText(/node-us-2 owns \d+ shards\..*Draining it moves \d+ shards/).waitFor();
  const [scrolled, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(scrolled <= shown, `${scrolled} wide`);
  assert.deepEqual(await violations(page), []);
  assert.equal((await server.send("NodeDetails", { nodeId: "node-us-2" }, OPERATOR)).node.status, "ACTIVE");
  await page.getByRole("button", { name: /^Drain node-us-2 and plan \d+ moves$/ }).click();
  await page.getByLabel("Reason").fill("its disk fails");
  await page.locator("dialog").getByRole("button", { name: /^Drain/ }).click();
  await page.waitForURL(/\/plans\/[0-9a-f]{32}$/);
  await page.getByText("Only moves shards off node-us-2.").waitFor();
  assert.equal((await server.send("NodeDetails", { nodeId: "node-us-2" }, OPERATOR)).node.status, "DRAINING");
  await closed(page);
});

test("the list of plans links to each, and a token that reads is offered nothing", async () => {
  const page = await openWith(tokenOf("dora"), "/plans?show=all");
  await page.getByRole("table", { name: "Plans" }).waitFor();
  assert.equal(await page.getByRole("link", { name: "New plan" }).count(), 0);
  assert.deepEqual(await violations(page), []);
  assert.match(await page.getByRole("row").last().textContent(), /proposed by bob.*approved by alice/);
  await page.getByRole("table", { name: "Plans" }).getByRole("link").last().click();
  const heading = page.getByRole("heading", { level: 1, name: /^Plan [0-9a-f]{8}$/ });
  await heading.waitFor();
  const path = new URL(page.url()).pathname;
  assert.equal(await page.locator(".actions button").count(), 0);

  // A look at what draining a node would move needs no more than reading.
  await page.getByRole("link", { name: "Mesh", exact: true }).click();
  await page.locator(".balance").getByRole("button", { name: "node-us-1" }).click();
  await page.getByRole("link", { name: "What draining moves" }).click();
  await page.getByText(/Draining it moves \d+ shards/).waitFor();
  assert.equal(await page.getByRole("main").getByRole("button").count(), 0);

  // What the page shows of its id is enough to find it.
  await page.getByRole("link", { name: "Plans", exact: true }).click();
  await page.getByRole("table", { name: "Plans" }).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type(path.slice("/plans/".length, "/plans/".length + 8));
  await page.getByRole("option", { name: /plan \w+, proposed by bob$/ }).click();
  await page.waitForURL(server.url + path);
  await closed(page);
});
