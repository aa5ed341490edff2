// A server of its own, and a headless Chromium that looks at it. What a page must never do is noted while it is open:
// errors on the console, and requests to anywhere but that server.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const READY_MS = 120_000;
const AXE = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const manifest = JSON.parse(await readFile(join(ROOT, "frontend-queries/documents/manifest.json"), "utf8"));

/** Whether a request of a page is of this operation. */
export const isOf = (request, name) => request.postData()?.includes(manifest[name]) ?? false;

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A server with the demo mesh, or without, whose data outlives it until `close`. */
export class Server {
  #process;
  #data;
  #environment;

  static async start({ demo = true, environment = {} } = {}) {
    const server = new Server();
    server.port = await freePort();
    server.url = `http://127.0.0.1:${server.port}`;
    server.#data = await mkdtemp(join(tmpdir(), "omnirelay-browser-"));
    server.#environment = environment;
    server.demo = demo;
    await server.run();
    return server;
  }

  async run() {
    const options = ["serve", "--port", String(this.port), "--data-dir", this.#data, this.demo ? "--demo" : "--no-demo"];
    this.#process = spawn(join(ROOT, ".venv/bin/omnirelay"), options, {
      cwd: this.#data,
      env: { ...process.env, ...this.#environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [this.#process.stdout, this.#process.stderr]) stream.on("data", (text) => (output = (output + text).slice(-4000)));
    const began = Date.now();
    for (;;) {
      if (this.#process.exitCode !== null) throw new Error(`the server ended:\n${output}`);
      const answer = await fetch(`${this.url}/readyz`).catch(() => undefined);
      if (answer?.ok) return;
      if (Date.now() - began > READY_MS) throw new Error(`the server is not ready:\n${output}`);
      await pause(100);
    }
  }

  /** As a crash ends it. */
  async kill() {
    const ended = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await ended;
  }

  async close() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, "exit");
      this.#process.kill("SIGTERM");
      await ended;
    }
    await rm(this.#data, { recursive: true, force: true, maxRetries: 20, retryDelay: 250 });
  }

  /** The data of a trusted operation. */
  async send(name, variables = {}, token) {
    const answer = await fetch(`${this.url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) },
      body: JSON.stringify({ documentId: manifest[name], variables }),
    });
    const { data, errors } = await answer.json();
    if (errors) throw new Error(`${name}: ${errors[0].message}`);
    return data;
  }

  async shard(namespace, shardId) {
    return (await this.send("ShardDetails", { namespace, shardId })).shard;
  }

  /** Gives a namespace another policy. */
  async configure(name, policy, token) {
    const { namespace } = await this.send("NamespaceDetails", { name }, token);
    const { strategy, strategyParameters, version: expectedVersion } = namespace;
    const change = { reason: "as agreed", ...(token ? {} : { actor: "carol" }) };
    const { configureNamespace } = await this.send("ConfigureNamespace", { input: { name, strategy, strategyParameters, expectedVersion, policy, change } }, token);
    if (configureNamespace.__typename !== "NamespaceConfigured") throw new Error(JSON.stringify(configureNamespace));
  }

  /** Moves a shard, wherever it is; returns the revision. */
  async move(namespace, shardId, ownerNodeId, reason = "a test moves it", actor = "alice") {
    const { version } = await this.shard(namespace, shardId);
    const input = { namespace, shardId, expectedVersion: version, ownerNodeId, change: { reason, actor, changeTicket: "CHG-9000" } };
    const { updateShard } = await this.send("UpdateShard", { input });
    if (updateShard.__typename !== "ShardsChanged") throw new Error(JSON.stringify(updateShard));
    return updateShard.revision;
  }
}

export const findChromium = () => process.env.CHROMIUM ?? "/usr/bin/chromium";

export class Browser {
  static async launch() {
    const browser = new Browser();
    browser.chromium = await chromium.launch({ executablePath: findChromium(), args: ARGUMENTS });
    return browser;
  }

  close() {
    return this.chromium.close();
  }

  /** A page in a context of its own; `errors` and `strangers` are what it must not have. */
  async page(server, { width = 1280, height = 800, colorScheme = "light" } = {}) {
    const context = await this.chromium.newContext({ viewport: { width, height }, colorScheme, reducedMotion: "reduce" });
    const page = await context.newPage();
    page.errors = [];
    page.strangers = [];
    page.requests_ = [];
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") page.errors.push(message.text());
    });
    page.on("pageerror", (error) => page.errors.push(error.message));
    context.on("request", (request) => {
      const { host } = new URL(request.url());
      if (host !== `127.0.0.1:${server.port}`) page.strangers.push(request.url());
    });
    page.on("websocket", (socket) => {
      if (new URL(socket.url()).host !== `127.0.0.1:${server.port}`) page.strangers.push(socket.url());
    });
    return page;
  }
}

/** Goes there, and waits until all is listed and followed. */
export async function open(page, server, path) {
  await page.goto(server.url + path);
  await live(page);
  // Pages are files of their own, and come after the bar.
  await page.waitForSelector("h1", { state: "attached" });
}

export const live = (page) => page.waitForSelector('.position[data-state="live"]', { timeout: 30_000 });

/** What axe finds, a line a node. */
export async function violations(page) {
  await page.evaluate(AXE);
  const { violations: found } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return found.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary}`));
}
