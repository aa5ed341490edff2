/** The frame of every page: the bar, what stands in the way, the page, and the dialogs that open over it. */
import { Suspense, useEffect, useState } from "react";
import { Route, Router, Switch, useLocation, Link } from "wouter";

import { Bar } from "./components/bar.js";
import { CallerDialog } from "./components/caller.js";
import { FindDialog } from "./components/find.js";
import { HelpDialog } from "./components/help.js";
import { Notices } from "./components/notices.js";
import { BASE } from "./lib/base.js";
import { useShortcuts } from "./lib/keys.js";
import { zone } from "./lib/settings.js";
import { pages } from "./routes.js";
import { text } from "./text.js";

type Open = "find" | "caller" | "help" | null;

export function App() {
  return (
    <Router base={BASE}>
      <Frame />
    </Router>
  );
}

function Frame() {
  const [location, navigate] = useLocation();
  const [open, setOpen] = useState<Open>(null);
  const close = (): void => setOpen(null);
  useShortcuts({
    ...Object.fromEntries(pages.map(({ key, path }) => [`g ${key}`, () => navigate(path)])),
    "/": () => setOpen("find"),
    "?": () => setOpen("help"),
    u: () => zone.set(zone.get() === "utc" ? "local" : "utc"),
  });
  useEffect(() => {
    const page = pages.find(({ path }) => path !== "/" && (location === path || location.startsWith(`${path}/`)));
    document.title = `${text.pages[page?.name ?? "mesh"]} · ${text.product}`;
  }, [location]);
  return (
    <>
      <a className="skip" href="#page">
        {text.skip}
      </a>
      <Bar onFind={() => setOpen("find")} onCaller={() => setOpen("caller")} />
      <Notices onToken={() => setOpen("caller")} />
      <main id="page" className="page" tabIndex={-1}>
        <Suspense fallback={null}>
          <Switch>
            {pages.flatMap(({ routes }) =>
              routes.map(({ pattern, component }) => <Route key={pattern} path={pattern} component={component} />),
            )}
            <Route>
              <div className="blank">
                <p>{text.empty.notFound}</p>
                <Link href="/" className="button">
                  {text.empty.toMesh}
                </Link>
              </div>
            </Route>
          </Switch>
        </Suspense>
      </main>
      {open === "find" && (
        <FindDialog
          onClose={close}
          onGo={(to) => {
            close();
            navigate(to);
          }}
        />
      )}
      {open === "caller" && <CallerDialog onClose={close} />}
      {open === "help" && <HelpDialog onClose={close} />}
    </>
  );
}
