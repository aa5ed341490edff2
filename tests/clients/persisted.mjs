// One query twice, as urql and Apollo Client send automatic persisted queries. Written to stdout: of each
// client what it was answered, and of each of its requests whether it had the document or its hash alone.

import { createHash } from "node:crypto";
import { Client, fetchExchange } from "@urql/core";
import { persistedExchange } from "@urql/exchange-persisted";
import { ApolloClient, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";

const [address] = process.argv.slice(2);
const url = `http://${address}/graphql`;
const sha256 = (text) => createHash("sha256").update(text).digest("hex");
let requests = [];

const noting = (input, init) => {
  const method = init?.method ?? "GET";
  const parameters = method === "GET" ? Object.fromEntries(new URL(input).searchParams) : JSON.parse(init.body);
  requests.push(parameters.query ? "document" : "hash");
  return fetch(input, init);
};
const tell = (client, answers) => {
  console.log(JSON.stringify({ client, answers, requests }));
  requests = [];
};

const urql = new Client({
  url,
  fetch: noting,
  preferGetMethod: false,
  exchanges: [persistedExchange({ preferGetForPersistedQueries: true }), fetchExchange],
});
const ofUrql = [];
for (let turn = 0; turn < 2; turn += 1) {
  const { data, error } = await urql
    .query("query Urql { head { revision } }", {}, { requestPolicy: "network-only" })
    .toPromise();
  ofUrql.push(error ? String(error) : data.head.revision);
}
tell("urql", ofUrql);

const apollo = new ApolloClient({
  cache: new InMemoryCache(),
  link: new PersistedQueryLink({ sha256, useGETForHashedQueries: true }).concat(new HttpLink({ uri: url, fetch: noting })),
});
const ofApollo = [];
for (let turn = 0; turn < 2; turn += 1) {
  const query = gql("query Apollo { head { revision } }");
  try {
    ofApollo.push((await apollo.query({ query, fetchPolicy: "network-only" })).data.head.revision);
  } catch (error) {
    ofApollo.push(String(error));
  }
}
tell("apollo", ofApollo);
