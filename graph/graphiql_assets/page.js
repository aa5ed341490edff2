// Starts GraphiQL on the address of the page itself: requests by POST, subscriptions by graphql-transport-ws.
"use strict";

const endpoint = location.origin + location.pathname;
const send = GraphiQL.createFetcher({ url: endpoint, subscriptionUrl: endpoint.replace(/^http/, "ws") });
const examples = JSON.parse(document.getElementById("examples").textContent);

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    // The editor's own syntax tree lags behind its text; with the former tab's, a subscription would go by POST.
    fetcher: (operation, options) =>
      send(operation, { ...options, documentAST: GraphiQL.GraphQL.parse(operation.query) }),
    plugins: [GraphiQLPluginExplorer.explorerPlugin()],
    // Only for a first visit: afterwards GraphiQL brings back the person's own tabs.
    defaultTabs: examples.map((query) => ({ query })),
    defaultEditorToolsVisibility: "variables",
    // Tokens typed into the headers editor are not written to the browser's storage.
    shouldPersistHeaders: false,
  }),
);
