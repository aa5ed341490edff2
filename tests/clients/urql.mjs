// A query, a mutation and a subscription as urql sends them by default. Written to stdout: one JSON object each.

import { Client, fetchExchange } from "@urql/core";

const [address, reason] = process.argv.slice(2);
const client = new Client({
  url: `http://${address}/graphql`,
  preferGetMethod: false,
  fetchSubscriptions: true,
  exchanges: [fetchExchange],
});
const tell = ({ data, error }) => console.log(JSON.stringify({ data, error: error && String(error) }));

tell(await client.query("{ head { revision } }", {}).toPromise());
tell(
  await client
    .mutation("mutation ($input: CreateShardsInput!) { createShards(input: $input) { ... on ShardsChanged { revision } } }", {
      input: {
        shards: [{ namespace: "billing", shardId: "s1", ownerNodeId: "node-a" }],
        change: { actor: "ops", reason },
      },
    })
    .toPromise(),
);
const { unsubscribe } = client.subscription("subscription { shardDiffs { revision } }", {}).subscribe((result) => {
  tell(result);
  setTimeout(() => unsubscribe());
});
