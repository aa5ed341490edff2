// A program that follows shardDiffs with the official client, graphql-ws, as docs/graphql-api.md has it. What happens is
// written to stdout, one JSON array a line: ["opened"], ["connected"], ["closed", code, reason], ["revisions", ...] of
// diffs, and at the end ["over", code or errors]. argv: the address, and options as JSON.
//
// options: tokens, shown one after the other, the last one from then on; raw, sent once as soon as the first socket is
// connected; late, milliseconds before the first connection_init; query, instead of the subscription.

import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [address, text] = process.argv.slice(2);
const { tokens = [], raw, late = 0, query } = JSON.parse(text);
const tell = (...event) => console.log(JSON.stringify(event));
let connections = 0;

const client = createClient({
  url: `ws://${address}/graphql`,
  webSocketImpl: WebSocket,
  connectionParams: async () => {
    if (late && connections === 0) await new Promise((resolve) => setTimeout(resolve, late));
    const token = tokens[Math.min(connections, tokens.length - 1)];
    connections += 1;
    return token === undefined ? undefined : { authorization: `Bearer ${token}` };
  },
  retryAttempts: 200,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 50)),
  shouldRetry: () => true,
  on: {
    connected: (socket) => {
      tell("connected");
      if (raw !== undefined && connections === 1) socket.send(raw);
    },
    closed: (event) => {
      tell("closed", event.code, event.reason);
      if (late) connections = Math.max(connections, 1);
    },
  },
});

const variables = { after: null };
client.subscribe(
  {
    query: query ?? "subscription ($after: Cursor) { shardDiffs(after: $after) { cursor diffs { revision } } }",
    variables,
  },
  {
    next: ({ data }) => {
      const batch = data.shardDiffs;
      variables.after = batch.cursor;
      tell("revisions", ...batch.diffs.map((diff) => diff.revision));
    },
    error: (why) => tell("over", why.code ?? why.map?.((error) => error.extensions.code) ?? String(why)),
    complete: () => tell("over", "complete"),
  },
);
