// What a page shows while the mesh changes under it, and while the server is gone.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Browser, Server, isOf, live, open } from "./harness.mjs";

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([Server.start(), Browser.launch()]);
});

after(async () => {
  await browser?.close();
  await server?.close();
});

const NODES = ["node-eu-1", "node-us-1"];

const revisions = (page) => page.$$eval(".live-row .revision", (cells) => cells.map((cell) => cell.textContent).filter(Boolean));

const shows = (page, revision) =>
  page.waitForFunction((wanted) => [...document.querySelectorAll(".live-row .revision")].some((cell) => cell.textContent === wanted), `r${revision}`);

test("a move is shown as it happens: in the ticker with who and why, on the map, in the bar", async () => {
  const [ticker, map] = await Promise.all([browser.page(server), browser.page(server)]);
  await open(ticker, server, "/live");
  await open(map, server, "/?sel=orders/orders-007");
  const revision = await server.move("orders", "orders-007", "node-eu-3", "to see it move");
  await shows(ticker, revision);
  const row = ticker.locator(".live-row", { hasText: `r${revision}` });
  assert.match(await row.textContent(), /alice.*CHG-9000.*orders\/orders-007.*→ node-eu-3.*to see it move/);
  await map.waitForFunction(() => /on node-eu-3/.test(document.querySelector("[role=gridcell]").textContent));
  assert.match(await map.getByRole("gridcell").textContent(), /moved just now/);
  await map.waitForFunction((wanted) => document.querySelector(".position .revision").textContent === wanted, `r${revision}`);
  await map.waitForFunction(() => /for \d+ s: alice, CHG-9000 "to see it move"/.test(document.querySelector(".detail").textContent));
  for (const page of [ticker, map]) {
    assert.deepEqual(page.errors, []);
    assert.deepEqual(page.strangers, []);
    await page.context().close();
  }
});

test("a pause holds the list still, and resuming shows all that came", async () => {
  const page = await browser.page(server, { height: 1_000 });
  await open(page, server, "/live?ns=orders");
  await page.waitForSelector(".live-row");
  await page.keyboard.press("p");
  const before = await revisions(page);
  const moved = [];
  for (let each = 0; each < 5; each += 1) moved.push(await server.move("orders", "orders-008", NODES[each % 2]));
  await page.getByRole("button", { name: /5 new changes above/ }).waitFor();
  assert.deepEqual(await revisions(page), before);
  await page.keyboard.press("p");
  await shows(page, moved.at(-1));
  assert.deepEqual((await revisions(page)).slice(0, 5), moved.toReversed().map((each) => `r${each}`));
  await page.context().close();
});

test("a server that is killed and comes back costs the page no change, and the page says what is the matter", async () => {
  const page = await browser.page(server, { height: 1_400 });
  await open(page, server, "/live");
  const expected = [];
  for (let each = 0; each < 6; each += 1) expected.push(await server.move("orders", "orders-009", NODES[each % 2]));
  await shows(page, expected.at(-1));
  await server.kill();
  await page.waitForSelector('.position[data-state="lost"]');
  await page.locator(".notice", { hasText: /Connection lost .* You see revision \d+/ }).waitFor();
  await page.getByRole("button", { name: "Try now" }).waitFor();
  assert.ok((await revisions(page)).includes(`r${expected.at(-1)}`), "all stays readable");
  await server.run();
  // Before the page is back: these it can have only by resuming where it was.
  for (let each = 0; each < 6; each += 1) expected.push(await server.move("orders", "orders-010", NODES[each % 2]));
  await live(page);
  await shows(page, expected.at(-1));
  const shown = await revisions(page);
  assert.deepEqual(shown.filter((each) => expected.includes(each.slice(1))), expected.toReversed().map((each) => `r${each}`));
  assert.deepEqual(page.strangers, []);
  // A socket that is refused is on the console whatever a page does.
  assert.deepEqual(page.errors.filter((error) => !/WebSocket connection|Failed to load resource/.test(error)), []);
  await page.context().close();
});

test("where a proxy lets no websocket through, changes come as an event stream", async () => {
  const page = await browser.page(server);
  await page.routeWebSocket(/graphql/, (socket) => socket.close({ code: 1001 }));
  const streams = [];
  page.on("request", (request) => {
    if (request.headers()["accept"] === "text/event-stream") streams.push(request.url());
  });
  await open(page, server, "/live");
  const revision = await server.move("orders", "orders-011", "node-eu-3", "by event stream");
  await shows(page, revision);
  assert.ok(streams.length > 0);
  await page.context().close();
});

test("a tab without a token asks for one, and goes on with it where it was", async () => {
  const { createHmac } = await import("node:crypto");
  const secret = "a secret of at least thirty-two bytes, for a test";
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const expires = Math.floor(Date.now() / 1000) + 600;
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ sub: "dora", scope: "mesh.read", exp: expires })}`;
  const token = `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
  const guarded = await Server.start({ environment: { OMNIRELAY_AUTH_SECRET: secret } }).catch((error) => error);
  if (guarded instanceof Error) throw guarded;
  try {
    const page = await browser.page(guarded);
    await page.goto(guarded.url);
    await page.getByText("Reading needs a token.").waitFor();
    await page.getByRole("button", { name: "Paste a token" }).click();
    await page.getByLabel("Bearer token").fill(token);
    await page.getByRole("button", { name: "Use", exact: true }).click();
    await live(page);
    await page.getByRole("button", { name: "dora" }).waitFor();
    assert.ok(!page.url().includes(token));
    assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }).includes("eyJ")), false);
    await page.context().close();
  } finally {
    await guarded.close();
  }
});

test("a change of one shard is named by its shard, also where the page of history does not reach back to it", async () => {
  const revision = await server.move("orders", "orders-012", "node-eu-3");
  const page = await browser.page(server, { height: 1_400 });
  const asked = [];
  await page.route("**/graphql", async (route) => {
    if (!isOf(route.request(), "ShardHistory")) return route.continue();
    const { variables } = route.request().postDataJSON();
    if (variables.filter?.changeId) {
      asked.push(variables.filter.changeId);
      return route.continue();
    }
    await route.fulfill({ json: { data: { shardHistory: { pageInfo: { hasNextPage: false, endCursor: null }, nodes: [] } } } });
  });
  await open(page, server, "/live");
  await page.locator(".live-row", { hasText: `r${revision}` }).getByRole("link", { name: "orders/orders-012" }).waitFor();
  assert.equal(new Set(asked).size, asked.length, "each is asked for once");
  assert.deepEqual(page.errors, []);
  await page.context().close();
});

const UNKNOWN = { message: "`documentId`: there is no such document; send `query`", extensions: { code: "PERSISTED_QUERY_NOT_FOUND" } };

const asksToReload = async (page) => {
  const notice = page.getByRole("alert").filter({ hasText: "This page is of an older version of the server. Reload it." });
  await notice.waitFor();
  const loaded = page.waitForEvent("load");
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await notice.getByRole("button", { name: "Reload" }).click();
  await loaded;
  await live(page);
  assert.equal(await notice.count(), 0);
};

test("a page whose queries an upgraded server does not know asks to be loaded again", async () => {
  const page = await browser.page(server);
  await open(page, server, "/live");
  await page.route("**/graphql", async (route) => {
    if (isOf(route.request(), "ListRebalancePlans")) await route.fulfill({ status: 400, json: { errors: [UNKNOWN] } });
    else await route.continue();
  });
  await page.getByRole("link", { name: "Plans", exact: true }).click();
  await asksToReload(page);
  await page.context().close();
});

test("a page whose subscriptions an upgraded server does not know asks to be loaded again", async () => {
  const page = await browser.page(server);
  await page.routeWebSocket(/graphql/, (socket) => {
    if (page.isUpgraded) socket.connectToServer();
    else
      socket.onMessage((message) => {
        const { id, type } = JSON.parse(message);
        if (type === "connection_init") socket.send('{"type":"connection_ack"}');
        if (type === "subscribe") socket.send(JSON.stringify({ id, type: "error", payload: [UNKNOWN] }));
      });
  });
  await page.goto(server.url);
  await page.waitForSelector('.position[data-state="over"]');
  assert.equal(await page.getByRole("button", { name: "Reload" }).count(), 1);
  page.isUpgraded = true;
  await asksToReload(page);
  await page.context().close();
});

test("a part of the page that the server has under another name now leaves the rest of it standing", async () => {
  const page = await browser.page(server);
  await open(page, server, "/live");
  await page.route(/\/dashboard\/governance-[^/]*\.js$/, (route) => route.fulfill({ status: 404 }));
  await page.getByRole("link", { name: "Governance", exact: true }).click();
  await page.getByText("This part of the page could not be read").waitFor();
  await page.getByRole("main").getByRole("button", { name: "Reload" }).waitFor();
  await page.getByRole("link", { name: "Live", exact: true }).click();
  await page.waitForSelector(".live-row");
  await page.context().close();
});
