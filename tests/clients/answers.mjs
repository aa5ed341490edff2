// One query, as each client sends it. Written to stdout: a JSON object a client, with the revision it was answered, or
// the message and the codes of what it was refused. argv: the address, and the document.

import { ApolloClient, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { CombinedGraphQLErrors, ServerError } from "@apollo/client/errors";
import { Client, fetchExchange } from "@urql/core";
import { EventSource } from "eventsource";
import { createClient } from "graphql-sse";
import { createClient as createSocketClient } from "graphql-ws";
import relay from "relay-runtime";
import WebSocket from "ws";

import { overEventStream } from "../../frontend-queries/dist/index.js";
import { environment, query } from "./relay.mjs";

const [address, text] = process.argv.slice(2);
const url = `http://${address}/graphql`;
const codes = (errors) => errors.map(({ extensions }) => extensions.code);
const of = ({ data, errors }) => (errors ? refused(errors) : { revision: data.head.revision });
const refused = (errors) => ({ message: errors[0].message, codes: codes(errors) });

/** The first result of a client that streams. */
const first = (subscribe) =>
  new Promise((resolve) => {
    subscribe({
      next: (result) => resolve(of(result)),
      error: (cause) => resolve(Array.isArray(cause) ? refused(cause) : { message: String(cause.message ?? cause.reason), code: cause.code ?? cause.response?.status }),
      complete: () => resolve({ message: "nothing came" }),
    });
  });

const CLIENTS = {
  async urql() {
    const client = new Client({ url, preferGetMethod: false, exchanges: [fetchExchange] });
    const { data, error } = await client.query(text, {}).toPromise();
    return error ? refused(error.graphQLErrors) : { revision: data.head.revision };
  },
  async apollo() {
    const client = new ApolloClient({ cache: new InMemoryCache(), link: new HttpLink({ uri: url }) });
    try {
      return of(await client.query({ query: gql(text) }));
    } catch (error) {
      if (CombinedGraphQLErrors.is(error)) return refused(error.errors);
      if (ServerError.is(error)) return { ...refused(JSON.parse(error.bodyText).errors), status: error.statusCode };
      throw error;
    }
  },
  async relay() {
    try {
      const { head } = await relay.fetchQuery(environment(url), query(text), {}).toPromise();
      return { revision: head.revision };
    } catch (error) {
      return refused(error.source.errors);
    }
  },
  "graphql-sse": () => first((sink) => createClient({ url, retryAttempts: 0 }).subscribe({ query: text }, sink)),
  async "graphql-ws"() {
    const client = createSocketClient({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: 0 });
    const answer = await first((sink) => client.subscribe({ query: text }, sink));
    await client.dispose();
    return answer;
  },
  eventsource: () =>
    new Promise((resolve) => {
      const source = new EventSource(`${url}?query=${encodeURIComponent(text)}`);
      const end = (answer) => {
        source.close();
        resolve(answer);
      };
      source.addEventListener("next", ({ data }) => end(of(JSON.parse(data))));
      source.addEventListener("error", ({ code }) => end({ code }));
    }),
  async package() {
    try {
      const { head } = await overEventStream({ url }).request(text, {});
      return { revision: head.revision };
    } catch (error) {
      return { message: error.message, codes: [error.code] };
    }
  },
};

for (const [name, ask] of Object.entries(CLIENTS)) console.log(JSON.stringify({ client: name, ...(await ask()) }));
process.exit(0);
