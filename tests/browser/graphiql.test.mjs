// GraphiQL as a person uses it: what it opens with is run, followed and changed, under the page's own policy.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { graphiql as openGraphiql, runUntil, select, until } from "./graphiql.mjs";
import { Browser, Server } from "./harness.mjs";

const TABS = ["ListShards", "ShardWithHistory", "WatchShards", "UpdateShard", "ExplainShard", "NamespaceGovernance"];

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([Server.start(), Browser.launch()]);
});

after(async () => {
  await browser?.close();
  await server?.close();
});

const graphiql = () => openGraphiql(browser, server);

/** The text of an editor: `operation.graphql`, `variables.json`, `request-headers.json`, `response.json`. */
const text = (page, name) =>
  page.evaluate((wanted) => globalThis.__MONACO.editor.getModels().find(({ uri }) => uri.path.endsWith(wanted)).getValue(), name);

const response = async (page) => JSON.parse(await text(page, "response.json"));

const fill = (page, name, value) =>
  page.evaluate(
    ([wanted, given]) => {
      const model = globalThis.__MONACO.editor.getModels().find(({ uri }) => uri.path.endsWith(wanted));
      // As typing does it, not as another text is put in its place.
      model.pushEditOperations([], [{ range: model.getFullModelRange(), text: given }], () => null);
    },
    [name, value],
  );

const run = (page) => page.getByRole("button", { name: /Execute query/ }).click();

const stop = (page) => page.getByRole("button", { name: /Stop query/ }).click();

async function leaves(page) {
  assert.deepEqual(page.errors, []);
  assert.deepEqual(page.strangers, []);
  assert.deepEqual(await page.evaluate(() => globalThis.refused), []);
  await page.context().close();
}

test("each operation it opens with can be read, and answers", async () => {
  const page = await graphiql();
  const names = (await page.getByRole("tab").allTextContents()).map((each) => each.replace("a t icon", ""));
  assert.deepEqual(names, TABS);
  for (const [name, field] of [["ListShards", "shards"], ["ShardWithHistory", "shard"], ["ExplainShard", "explainShard"], ["NamespaceGovernance", "namespace"]]) {
    await select(page, name);
    await runUntil(page, new RegExp(`"${field}": \\{`));
    assert.ok(!("errors" in (await response(page))), name);
  }
  await leaves(page);
});

test("a subscription's changes stay when bookmarks follow, and those of a restart are not missed", async () => {
  const page = await graphiql();
  await select(page, "WatchShards");
  await runUntil(page, /"status": "live;.* [1-9]\d* bookmarks left out/);
  assert.deepEqual((await response(page)).received, []);
  const expected = [];
  for (const node of ["node-us-1", "node-eu-1"]) {
    expected.unshift(await server.move("orders", "orders-011", node));
    await until(page, new RegExp(`"revision": "${expected[0]}"`));
  }
  const bookmarks = async () => Number(/(\d+) bookmarks/.exec((await response(page)).status)[1]);
  const before = await bookmarks();
  await server.kill();
  await until(page, /connection lost, trying again/);
  await server.run();
  expected.unshift(await server.move("orders", "orders-011", "node-us-1"));
  await until(page, new RegExp(`"revision": "${expected[0]}"`));
  await until(page, new RegExp(`"live;.* (?!${before} )\\d+ bookmarks`));
  const shown = (await response(page)).received.flatMap(({ data }) => data.shardDiffs.diffs.map(({ revision }) => revision).reverse());
  assert.deepEqual(shown, expected, "the newest first, each once");
  await stop(page);
  await until(page, /"status": "stopped;/);
  assert.equal((await response(page)).received.length, 3);
  page.errors = page.errors.filter((error) => !/WebSocket connection|Failed to load resource/.test(error));
  await leaves(page);
});

test("the change conflicts at first, and is made with the version that the conflict names", async () => {
  const page = await graphiql();
  await select(page, "UpdateShard");
  await runUntil(page, /"__typename": "VersionConflict"/);
  const [conflict] = (await response(page)).data.updateShard.conflicts;
  assert.deepEqual([conflict.expectedVersion, conflict.current.shardId], ["0", "orders-007"]);
  const variables = await text(page, "variables.json");
  await fill(page, "variables.json", variables.replace('"expectedVersion": "0"', `"expectedVersion": "${conflict.actualVersion}"`));
  await runUntil(page, /"__typename": "ShardsChanged"/);
  assert.equal((await server.shard("orders", "orders-007")).ownerNodeId, "node-eu-2");
  await leaves(page);
});

test("headers typed once are those of all tabs, of subscriptions too, and are not stored", async () => {
  const page = await graphiql();
  const sent = [];
  page.on("request", (request) => request.method() === "POST" && sent.push(request.headers().authorization));
  await fill(page, "request-headers.json", '{ "Authorization": "Bearer of-alice" }');
  for (const name of ["ShardWithHistory", "ExplainShard"]) {
    await select(page, name);
    await page.waitForFunction(() => globalThis.__MONACO.editor.getModels().find(({ uri }) => uri.path.endsWith("request-headers.json")).getValue().includes("of-alice"));
    await runUntil(page, /"data"/);
  }
  assert.deepEqual([...new Set(sent)], ["Bearer of-alice"]);
  await page.getByRole("button", { name: "New tab" }).click();
  await page.waitForFunction(() => globalThis.__MONACO.editor.getModels().find(({ uri }) => uri.path.endsWith("request-headers.json")).getValue().includes("of-alice"));
  await select(page, "WatchShards");
  const initial = page.waitForEvent("websocket").then((socket) => socket.waitForEvent("framesent"));
  await run(page);
  const { payload } = await initial;
  assert.match(String(payload), /"type":"connection_init","payload":\{"Authorization":"Bearer of-alice"\}/);
  await until(page, /"status": "live/);
  await page.waitForFunction(() => /ExplainShard/.test(localStorage.getItem("graphiql:queries") ?? ""));
  assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }).includes("of-alice")), false);
  await leaves(page);
});

test("documentation, history and explorer open, and the editor knows the schema", async () => {
  const page = await graphiql();
  await runUntil(page, /"shards"/);
  await page.getByRole("button", { name: /Show History/ }).click();
  await page.locator(".graphiql-history-items", { hasText: "ListShards" }).waitFor();
  await page.getByRole("button", { name: /Show GraphiQL Explorer/ }).click();
  await page.locator(".docExplorerWrap", { hasText: "shardHistory" }).first().waitFor();
  await page.getByRole("button", { name: /Show Documentation Explorer/ }).click();
  await page.locator(".graphiql-doc-explorer", { hasText: "A GraphQL schema" }).waitFor();
  await fill(page, "operation.graphql", "{ nothingOfTheKind }");
  await page.waitForFunction(() => globalThis.__MONACO.editor.getModelMarkers({}).some(({ message }) => /nothingOfTheKind/.test(message)));
  await leaves(page);
});
