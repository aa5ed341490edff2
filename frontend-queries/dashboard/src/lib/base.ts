/** Where this page is served: a prefix without a slash at its end, empty at the root of a host. */
export const BASE: string = import.meta.env.DEV ? "" : new URL(/* @vite-ignore */ "..", import.meta.url).pathname.replace(/\/$/, "");

export const ENDPOINT = new URL(`${BASE}/graphql`, location.href);
