/** The time, for what shows an age: once a second, for all of the page. */
import { Value, useValue } from "./external.js";

const now = new Value(Date.now());
setInterval(() => now.set(Date.now()), 1_000);

export const useNow = (): number => useValue(now);

/** By how many milliseconds the server's clock is ahead of this one: ages of what it stamped are taken by its own. */
export const serverAhead = new Value(0);

export const useServerNow = (): number => useNow() + useValue(serverAhead);
