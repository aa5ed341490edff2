/** For Apollo Client: `new InMemoryCache(cacheOptions)`. */
import { keyFields as keys, pagedFields, possibleTypes } from "./generated/cache.js";

interface Page {
  pageInfo?: unknown;
  edges?: readonly unknown[];
  nodes?: readonly unknown[];
}

/**
 * Pages of a list, one after the other, as one list: an `after` adds to what is there, its absence begins anew.
 */
const appended = (keyArgs: readonly string[]) => ({
  keyArgs: [...keyArgs],
  merge(existing: Page | undefined, incoming: Page, { args }: { args: Record<string, unknown> | null }): Page {
    if (existing === undefined || args?.["after"] === undefined || args["after"] === null) return incoming;
    return {
      ...incoming,
      ...(incoming.nodes === undefined ? {} : { nodes: [...(existing.nodes ?? []), ...incoming.nodes] }),
      ...(incoming.edges === undefined ? {} : { edges: [...(existing.edges ?? []), ...incoming.edges] }),
    };
  },
});

const typePolicies: Record<string, object> = {
  Query: {
    fields: Object.fromEntries(Object.entries(pagedFields).map(([field, keyArgs]) => [field, appended(keyArgs)])),
  },
  ...Object.fromEntries(Object.entries(keys).map(([type, fields]) => [type, { keyFields: keyFieldsOf(fields) }])),
};

/**
 * An object of which a key field was not selected is not normalised, in place of an error: most operations select of a
 * shard what they show.
 */
function keyFieldsOf(fields: readonly string[]) {
  return (object: Readonly<Record<string, unknown>>, { readField }: { readField(name: string, of: unknown): unknown }) => {
    const values = fields.map((field) => readField(field, object));
    return values.includes(undefined) ? false : `${String(object["__typename"])}:${JSON.stringify(values)}`;
  };
}

/** `possibleTypes` and `typePolicies` of InMemoryCache. */
export const cacheOptions = { possibleTypes, typePolicies };

/** For `createPersistedQueryLink`, whose documents are those of `./documents`: the id in the server's manifest. */
export const persistedQueryOptions = {
  generateHash: (document: unknown): string =>
    (document as { __meta__?: { hash?: string } }).__meta__?.hash ?? "unknown",
};

export { possibleTypes };
