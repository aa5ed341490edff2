// Starts GraphiQL on the address of the page itself: requests by POST, subscriptions by graphql-transport-ws.
"use strict";

const endpoint = location.origin + location.pathname;
const examples = JSON.parse(document.getElementById("examples").textContent);

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    fetcher: GraphiQL.createFetcher({ url: endpoint, subscriptionUrl: endpoint.replace(/^http/, "ws") }),
    plugins: [GraphiQLPluginExplorer.explorerPlugin()],
    // Only for a first visit: afterwards GraphiQL brings back the person's own tabs.
    defaultTabs: examples.map((query) => ({ query })),
    // Tokens typed into the headers editor are not written to the browser's storage.
    shouldPersistHeaders: false,
  }),
);
