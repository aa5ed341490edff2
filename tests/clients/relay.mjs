// What Relay's compiler would make of the operations of these tests, and a network as its documentation has it: fetch,
// and graphql-sse for subscriptions.

import { createClient } from "graphql-sse";
import relay from "relay-runtime";

const { Environment, Network, Observable, RecordSource, Store } = relay;

const scalar = (name) => ({ kind: "ScalarField", name, alias: null, args: null, storageKey: null });

const linked = (name, concreteType, selections, more = {}) => ({
  kind: "LinkedField",
  name,
  alias: null,
  args: null,
  concreteType,
  plural: false,
  storageKey: null,
  selections,
  ...more,
});

function request(operationKind, type, text, selections, argumentDefinitions = []) {
  const name = "Relayed";
  return {
    kind: "Request",
    fragment: { kind: "Fragment", name, type, metadata: null, argumentDefinitions, selections },
    operation: { kind: "Operation", name, argumentDefinitions, selections },
    params: { id: null, cacheID: text, name, operationKind, text, metadata: {} },
  };
}

/** Of any text that has `head { revision }`, or is refused. */
export const query = (text) => request("query", "Query", text, [linked("head", "Head", [scalar("revision")])]);

const AFTER = { kind: "LocalArgument", name: "after", defaultValue: null };

export const subscription = request(
  "subscription",
  "Subscription",
  "subscription Relayed($after: Cursor) { shardDiffs(after: $after) { cursor diffs { revision } } }",
  [
    linked("shardDiffs", "ShardDiffBatch", [scalar("cursor"), linked("diffs", "ShardDiff", [scalar("revision")], { plural: true })], {
      args: [{ kind: "Variable", name: "after", variableName: "after" }],
    }),
  ],
  [AFTER],
);

export function environment(url) {
  const streams = createClient({ url, retryAttempts: 0 });
  const send = async ({ text }, variables) => {
    const headers = { "content-type": "application/json" };
    return (await fetch(url, { method: "POST", headers, body: JSON.stringify({ query: text, variables }) })).json();
  };
  const subscribe = ({ text }, variables) =>
    Observable.create((sink) => streams.subscribe({ query: text, variables }, sink));
  return new Environment({ network: Network.create(send, subscribe), store: new Store(new RecordSource()) });
}
