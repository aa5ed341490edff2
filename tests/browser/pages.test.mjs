// Every page in a browser: nothing wrong on the console, nothing asked of elsewhere, nothing that axe finds, no overflow.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Browser, Server, isOf, live, open, violations } from "./harness.mjs";

const PAGES = ["/", "/?as=table", "/?node=node-eu-1&sel=orders/orders-000", "/live", "/shards", "/shards/orders/orders-007", "/time", "/plans", "/governance"];

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([Server.start(), Browser.launch()]);
});

after(async () => {
  await browser?.close();
  await server?.close();
});

describe("every page", () => {
  for (const path of PAGES) {
    test(`${path} is clean, in light and dark, wide and narrow`, async () => {
      for (const [width, colorScheme] of [[1280, "light"], [390, "dark"]]) {
        const page = await browser.page(server, { width, colorScheme });
        await open(page, server, path);
        const where = `${path} at ${width}`;
        const [scrolled, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(scrolled <= shown, `${where} is ${scrolled} wide`);
        assert.deepEqual(await violations(page), [], where);
        assert.deepEqual(page.errors, [], where);
        assert.deepEqual(page.strangers, [], where);
        assert.ok((await page.evaluate(() => document.querySelectorAll("*").length)) <= 1_500, where);
        await page.context().close();
      }
    });
  }

  test("fits from 390 to 2,560 pixels, and at 200 % zoom", async () => {
    for (const [width, height] of [[390, 844], [640, 400], [901, 700], [1100, 700], [2560, 1300]]) {
      const page = await browser.page(server, { width, height });
      for (const path of ["/", "/live"]) {
        await open(page, server, path);
        const [scrolled, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(scrolled <= shown, `${path} at ${width} is ${scrolled} wide`);
      }
      await page.context().close();
    }
  });
});

test("no shard is called orphaned before nodes were read, nor all well", async () => {
  const page = await browser.page(server);
  let held = 0;
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await page.route("**/graphql", async (route) => {
    if (/"to":/.test(route.request().postData() ?? "")) {
      held += 1;
      await released;
    }
    await route.continue();
  });
  await page.goto(server.url);
  await live(page);
  const main = page.getByRole("main");
  assert.doesNotMatch(await main.textContent(), /orphaned|not registered|Nothing needs attention/i);
  assert.equal(held, 1, "nodes are read by one request");
  release();
  await main.getByRole("grid").waitFor();
  await page.context().close();
});

test("there are no ratios of a part of the shards", async () => {
  const page = await browser.page(server);
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await page.route("**/graphql", async (route) => {
    const request = route.request();
    if (isOf(request, "MeshShards") && request.postDataJSON().variables.after !== null) await released;
    await route.continue();
  });
  await page.goto(server.url);
  const ratios = () => page.locator(".balance .ratio").evaluateAll((cells) => cells.map((cell) => cell.firstChild.textContent));
  await page.waitForFunction(() => [...document.querySelectorAll(".balance .value")].some((cell) => Number(cell.textContent.replace(",", "")) > 0));
  assert.deepEqual([...new Set(await ratios())], ["–"]);
  await page.getByRole("button", { name: "As table" }).click();
  await page.locator(".mesh-map tbody tr").first().waitFor();
  assert.deepEqual([...new Set(await page.locator(".mesh-map tbody td:last-child").allTextContents())], ["–"]);
  release();
  await live(page);
  await page.waitForFunction(() => /^\d\.\d\d/.test(document.querySelector(".balance .ratio").textContent));
  assert.match((await ratios())[0], /^\d\.\d\d$/);
  await page.context().close();
});

test("GraphiQL is reached from every page", async () => {
  const page = await browser.page(server);
  await open(page, server, "/plans");
  await page.getByRole("link", { name: "GraphiQL" }).click();
  await page.waitForURL(`${server.url}/graphql`);
  await page.getByRole("tab", { name: /WatchShards/ }).waitFor();
  await page.context().close();
});

describe("dialogs", () => {
  test("are clean, and give the focus back", async () => {
    const page = await browser.page(server);
    await open(page, server, "/");
    await page.keyboard.press("?");
    await page.waitForSelector("dialog[open]");
    assert.deepEqual(await violations(page), []);
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "You", exact: true }).click();
    await page.waitForSelector("dialog[open]");
    assert.deepEqual(await violations(page), []);
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog", { state: "detached" });
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "You");
    await page.context().close();
  });

  test("find goes to what is looked for as soon as it is listed", async () => {
    const page = await browser.page(server);
    let release;
    const held = new Promise((resolve) => (release = resolve));
    await page.route("**/graphql", async (route) => {
      if (isOf(route.request(), "MeshShards")) await held;
      await route.continue();
    });
    await page.goto(server.url);
    await page.waitForSelector("h1", { state: "attached" });
    await page.keyboard.press("/");
    await page.keyboard.type("ders-007");
    await page.getByText("Not among what is read so far").waitFor();
    await page.keyboard.press("Enter");
    release();
    await page.waitForURL("**/shards/orders/orders-007");
    assert.deepEqual(page.errors, []);
    await page.context().close();
  });

  test("find goes to a shard by a part of its name", async () => {
    const page = await browser.page(server);
    await open(page, server, "/");
    await page.keyboard.press("/");
    await page.keyboard.type("ders-007");
    await page.getByRole("option", { name: /orders\/orders-007 shard on node-us-1$/ }).waitFor();
    assert.deepEqual(await violations(page), []);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/shards/orders/orders-007");
    assert.deepEqual(page.errors, []);
    await page.context().close();
  });
});

describe("keys", () => {
  test("go from page to page, and not while a field has the focus", async () => {
    const page = await browser.page(server);
    await open(page, server, "/");
    for (const [keys, path] of [["gl", "/live"], ["gp", "/plans"], ["gt", "/time"], ["gg", "/governance"], ["gs", "/shards"], ["gm", "/"]]) {
      await page.keyboard.type(keys);
      await page.waitForURL(server.url + path);
    }
    await page.keyboard.type("gl");
    await page.waitForURL(`${server.url}/live`);
    await page.getByLabel("Ticket").fill("g");
    await page.keyboard.type("m");
    assert.equal(new URL(page.url()).pathname, "/live");
    assert.equal(new URL(page.url()).searchParams.get("ticket"), "gm");
    await page.context().close();
  });

  test("move over the map, and the grid says where they are", async () => {
    const page = await browser.page(server);
    await open(page, server, "/?ns=orders");
    const grid = page.getByRole("grid");
    await grid.focus();
    await page.keyboard.press("ArrowRight");
    const first = await grid.getByRole("gridcell").textContent();
    assert.match(first, /^orders\/orders-\d+ on node-ap-1/);
    await page.keyboard.press("Control+ArrowRight");
    assert.match(await grid.getByRole("gridcell").textContent(), / on node-ap-2/);
    await page.waitForFunction(() => /for .*:/.test(document.querySelector(".detail").textContent));
    assert.match(await page.locator(".detail").textContent(), /on node-ap-2 for .+: \w+, CHG-\d+ ".+"/);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/shards/orders/**");
    await page.context().close();
  });

  test("n goes to the next shard that needs attention", async () => {
    const { status, version } = await server.shard("orders", "orders-400");
    assert.equal(status, "ACTIVE");
    const change = { reason: "writes stop", actor: "carol" };
    const input = { namespace: "orders", shardId: "orders-400", expectedVersion: version, status: "PAUSED", change };
    assert.equal((await server.send("UpdateShard", { input })).updateShard.__typename, "ShardsChanged");
    const page = await browser.page(server);
    await open(page, server, "/?ns=orders");
    await page.getByRole("grid").focus();
    await page.keyboard.press("n");
    await page.waitForURL(/sel=orders%2Forders-400/);
    assert.match(await page.getByRole("gridcell").textContent(), /orders-400 .*paused/);
    await page.context().close();
  });
});
