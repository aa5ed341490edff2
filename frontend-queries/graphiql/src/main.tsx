/** GraphiQL at the address of the page itself: requests by POST, subscriptions by graphql-transport-ws. */
import "./nonce";
import "./workers";

import "@graphiql/react/style.css";
import "@graphiql/plugin-doc-explorer/style.css";
import "@graphiql/plugin-history/style.css";
import "@graphiql/plugin-explorer/style.css";
import "graphiql-own.css";
import "./page.css";

import { explorerPlugin } from "@graphiql/plugin-explorer";
import { HISTORY_PLUGIN } from "@graphiql/plugin-history";
import type { Fetcher } from "@graphiql/toolkit";
import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { getOperationAST, parse } from "graphql";
import { createRoot } from "react-dom/client";

import { SharedHeaders } from "./headers";
import { follow } from "./live";
import { storage } from "./storage";

interface Tab {
  query: string;
  variables: string | null;
}

const endpoint = location.origin + location.pathname;
const tabs = JSON.parse(document.getElementById("tabs")?.textContent ?? "[]") as Tab[];
const overHttp = createGraphiQLFetcher({ url: endpoint });

const fetcher: Fetcher = (given, options) => {
  const request = { ...given, operationName: ownName(given.query, given.operationName) };
  if (!isSubscription(request.query, request.operationName)) return overHttp(request, options);
  const url = endpoint.replace(/^http/, "ws");
  return {
    subscribe: (sink: Parameters<typeof follow>[3]) => ({
      unsubscribe: follow(url, options?.headers, request, sink),
    }),
  } as ReturnType<Fetcher>;
};

/** For a moment after another tab was chosen GraphiQL still names the operation of the one before: such a name is none. */
function ownName(query: string, name: string | null | undefined): string | null {
  try {
    const document = parse(query);
    return name != null && (getOperationAST(document, name) != null || getOperationAST(document) == null) ? name : null;
  } catch {
    return name ?? null;
  }
}

function isSubscription(query: string, name?: string | null): boolean {
  try {
    return getOperationAST(parse(query), name)?.operation === "subscription";
  } catch {
    return false; // the server says what is wrong with it
  }
}

const container = document.getElementById("graphiql");
if (container !== null) {
  createRoot(container).render(
    <GraphiQL
      fetcher={fetcher}
      plugins={[HISTORY_PLUGIN, explorerPlugin()]}
      // Only for a first visit: afterwards GraphiQL brings back the person's own tabs.
      defaultTabs={tabs.map(({ query, variables }) => ({ query, variables, headers: null }))}
      storage={storage}
      shouldPersistHeaders={false}
      showPersistHeadersSettings={false}
      inputValueDeprecation
      defaultEditorToolsVisibility="variables"
    >
      <GraphiQL.Footer>
        <SharedHeaders />
      </GraphiQL.Footer>
    </GraphiQL>,
  );
}
