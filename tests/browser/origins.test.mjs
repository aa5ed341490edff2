// What a browser lets pages of other origins do with the API: what `allowed_origins` says, and nothing else.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { Browser, Server } from "./harness.mjs";

const QUERY = "{ namespaces { totalCount } }";
const SUBSCRIPTION = 'subscription { shardDiffs(namespace: "orders") { revision } }';

let dashboards;
let strangers;
let server;
let browser;

/** An empty page of an origin of its own. */
async function origin() {
  const pages = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!doctype html><title>a page</title>"));
  pages.listen(0, "127.0.0.1");
  await once(pages, "listening");
  return { url: `http://127.0.0.1:${pages.address().port}`, close: () => pages.close() };
}

before(async () => {
  [dashboards, strangers] = await Promise.all([origin(), origin()]);
  [server, browser] = await Promise.all([
    Server.start({ environment: { OMNIRELAY_ALLOWED_ORIGINS: dashboards.url } }),
    Browser.launch(),
  ]);
});

after(async () => {
  await browser?.close();
  await server?.close();
  dashboards?.close();
  strangers?.close();
});

/** What `ask` comes to in a page of that origin. */
async function asked({ url }, ask) {
  const context = await browser.chromium.newContext();
  const page = await context.newPage();
  await page.goto(url);
  const answer = await page.evaluate(ask, [server.url, QUERY, SUBSCRIPTION]);
  await context.close();
  return answer;
}

/** Preflighted, for the media type and the header. */
const post = async ([url, query]) => {
  try {
    const headers = { "content-type": "application/json", "x-request-id": "of-a-page" };
    const answer = await fetch(`${url}/graphql`, { method: "POST", headers, body: JSON.stringify({ query }) });
    return { id: answer.headers.get("x-request-id"), ...(await answer.json()) };
  } catch (error) {
    return error.name;
  }
};

/** The first message after the connection is acknowledged, or that it was closed. */
const subscribe = ([url, , query]) =>
  new Promise((resolve) => {
    const socket = new WebSocket(`${url.replace("http", "ws")}/graphql`, "graphql-transport-ws");
    socket.onopen = () => socket.send(JSON.stringify({ type: "connection_init" }));
    socket.onclose = () => resolve("closed");
    socket.onmessage = ({ data }) => {
      const { type } = JSON.parse(data);
      if (type === "connection_ack") socket.send(JSON.stringify({ id: "1", type: "subscribe", payload: { query } }));
      else resolve(type);
    };
  });

/** The first line of an event stream, which a page asks for by POST. */
const stream = async ([url, , query]) => {
  const headers = { "content-type": "application/json", accept: "text/event-stream" };
  const answer = await fetch(`${url}/graphql`, { method: "POST", headers, body: JSON.stringify({ query }) }).catch(({ name }) => name);
  if (typeof answer === "string") return answer;
  const { value } = await answer.body.getReader().read();
  return new TextDecoder().decode(value).trim().split("\n")[0];
};

test("a page of an allowed origin asks, sees the headers of the answer, and subscribes", async () => {
  const { id, data, errors } = await asked(dashboards, post);
  assert.equal(errors, undefined);
  assert.equal(id, "of-a-page");
  assert.ok(data.namespaces.totalCount > 0);
  assert.equal(await asked(dashboards, subscribe), "next");
  assert.equal(await asked(dashboards, stream), "retry: 1000");
});

test("a page of another origin gets nothing", async () => {
  assert.equal(await asked(strangers, post), "TypeError");
  assert.equal(await asked(strangers, subscribe), "closed");
  assert.equal(await asked(strangers, stream), "TypeError");
});
