/** The bar, on every page: where to go, what to find, how current the page is, and who asks. */
import { useState } from "react";
import { Link, useLocation } from "wouter";

import { BASE } from "../lib/base.js";
import { useZone, zone } from "../lib/settings.js";
import { pages } from "../routes.js";
import { text } from "../text.js";
import { CallerButton } from "./caller.js";
import { Position } from "./position.js";

export function Bar({ onFind, onCaller }: { onFind(): void; onCaller(): void }) {
  const [location] = useLocation();
  const [isShown, setShown] = useState(false);
  const zoneNow = useZone();
  return (
    <header className="bar">
      <button type="button" className="button plain menu" aria-expanded={isShown} onClick={() => setShown(!isShown)}>
        {text.menu}
      </button>
      <Link href="/" className="home" aria-label={text.product}>
        <img src={`${BASE}/dashboard/icon.svg`} width="20" height="20" alt="" />
      </Link>
      <nav aria-label={text.navigation} className={isShown ? "shown" : ""}>
        <ul>
          {pages.map(({ name, path }) => (
            <li key={name}>
              <Link
                href={path}
                aria-current={isIn(location, path) ? "page" : undefined}
                onClick={() => setShown(false)}
              >
                {text.pages[name]}
              </Link>
            </li>
          ))}
          <li>
            <a href={`${BASE}/graphql`} title={text.graphiqlTitle}>
              {text.graphiql}
            </a>
          </li>
        </ul>
      </nav>
      <div className="space" />
      <button type="button" className="find" onClick={onFind} aria-label={text.find.label}>
        <span>{text.find.label}</span>
        <kbd>/</kbd>
      </button>
      <Position />
      <button
        type="button"
        className="button plain zone"
        title={text.zone.toggle}
        onClick={() => zone.set(zoneNow === "utc" ? "local" : "utc")}
      >
        {text.zone[zoneNow]}
      </button>
      <CallerButton onOpen={onCaller} />
    </header>
  );
}

const isIn = (location: string, path: string): boolean =>
  path === "/" ? location === "/" : location === path || location.startsWith(`${path}/`);
