/** What this browser prefers, and who asks. A token is kept in memory, in this tab where that is asked for, never else. */
import { Value, useValue } from "./external.js";

export type Zone = "utc" | "local";
export type Theme = "system" | "light" | "dark";

/** Storage may be refused by the browser; then nothing is remembered. */
function stored(storage: () => Storage, key: string): string | null {
  try {
    return storage().getItem(key);
  } catch {
    return null;
  }
}

function store(storage: () => Storage, key: string, value: string | null): void {
  try {
    if (value === null) storage().removeItem(key);
    else storage().setItem(key, value);
  } catch {
    // not remembered
  }
}

function remembered<T extends string>(key: string, values: readonly T[], initial: T): Value<T> {
  const found = stored(() => localStorage, key) as T | null;
  const value = new Value<T>(found !== null && values.includes(found) ? found : initial);
  value.subscribe(() => store(() => localStorage, key, value.get()));
  return value;
}

export const zone = remembered<Zone>("zone", ["utc", "local"], "utc");
export const theme = remembered<Theme>("theme", ["system", "light", "dark"], "system");
export const shortcuts = remembered<"on" | "off">("shortcuts", ["on", "off"], "on");

/** The bearer token, or an empty string. */
export const token = new Value(stored(() => sessionStorage, "token") ?? "");
/** Where there is no authentication: the actor of changes. */
export const actor = new Value(stored(() => localStorage, "actor") ?? "");
actor.subscribe(() => store(() => localStorage, "actor", actor.get() || null));

export function setToken(text: string, inThisTab: boolean): void {
  token.set(text.trim().replace(/^bearer\s+/i, ""));
  store(() => sessionStorage, "token", inThisTab && token.get() ? token.get() : null);
}

/** Applied before anything is painted. */
export function applyTheme(): void {
  const apply = (): void => {
    const chosen = theme.get();
    if (chosen === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = chosen;
  };
  apply();
  theme.subscribe(apply);
}

export const useZone = (): Zone => useValue(zone);
