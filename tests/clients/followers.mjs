// A program that follows shardDiffs with one client. Written to stdout, one JSON array a line: ["open"] once batches
// come, again after each loss, ["lost"], and ["revisions", ...] of diffs. argv: the address, and the client's name.

import { EventSource } from "eventsource";
import { createClient } from "graphql-ws";
import relay from "relay-runtime";
import WebSocket from "ws";

import { followShards, overEventStream, overWebSocket } from "../../frontend-queries/dist/index.js";
import { environment, subscription } from "./relay.mjs";

const [address, name] = process.argv.slice(2);
const url = `http://${address}/graphql`;
const tell = (...event) => console.log(JSON.stringify(event));
const PAUSE_MS = 50;

/** `followShards` lists first: what is listed already comes in no batch. */
async function follow(transport) {
  for await (const event of followShards({ transport, firstPauseMs: PAUSE_MS, longestPauseMs: 4 * PAUSE_MS })) {
    if (event.type === "page") tell("listed", ...event.shards.map(({ shardId }) => shardId));
    else if (event.type === "batch") tell("revisions", ...event.diffs.map(({ revision }) => revision));
    else if (event.type === "open" || event.type === "lost") tell(event.type);
  }
}

const FOLLOWERS = {
  /** Subscribes anew after the newest cursor, for Relay does not by itself. */
  relay() {
    const at = environment(url);
    let after = null;
    let isOpen = false;
    const subscribe = () =>
      relay.requestSubscription(at, {
        subscription,
        variables: { after },
        onNext: ({ shardDiffs }) => {
          if (!isOpen) tell("open");
          isOpen = true;
          after = shardDiffs.cursor;
          tell("revisions", ...shardDiffs.diffs.map(({ revision }) => revision));
        },
        onError: () => {
          if (isOpen) tell("lost");
          isOpen = false;
          setTimeout(subscribe, PAUSE_MS);
        },
      });
    subscribe();
  },
  /** Resumes by itself, by Last-Event-ID. */
  eventsource() {
    const query = encodeURIComponent("subscription { shardDiffs { cursor diffs { revision } } }");
    const source = new EventSource(`${url}?query=${query}`);
    let isOpen = false;
    source.addEventListener("next", ({ data }) => {
      if (!isOpen) tell("open");
      isOpen = true;
      tell("revisions", ...JSON.parse(data).data.shardDiffs.diffs.map(({ revision }) => revision));
    });
    source.addEventListener("error", () => {
      if (isOpen) tell("lost");
      isOpen = false;
    });
  },
  "package-sse": () => follow(overEventStream({ url })),
  "package-ws"() {
    const client = createClient({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: 0 });
    return follow(overWebSocket({ url, client }));
  },
};

setInterval(() => {}, 2 ** 30); // what a client waits with before it connects anew need not keep a program running
await FOLLOWERS[name]();
