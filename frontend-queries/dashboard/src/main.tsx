import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Provider } from "urql";

import { client } from "./api/client.js";
import { start } from "./api/live.js";
import { App } from "./app.js";
import { applyTheme } from "./lib/settings.js";
import "./styles/tokens.css";
import "./styles/base.css";

applyTheme();
// Relative in the page: a browser would look for it anew below each address that is gone to.
for (const icon of document.querySelectorAll<HTMLLinkElement>('link[rel~="icon"]')) icon.setAttribute("href", icon.href);
start();

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <Provider value={client}>
      <App />
    </Provider>
  </StrictMode>,
);
