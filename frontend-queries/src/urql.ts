/** For urql's graphcache: `cacheExchange({ ...graphcacheOptions, schema })` with `./introspection.json` as schema. */
import { embeddedTypes, keyFields } from "./generated/cache.js";

type Data = Readonly<Record<string, unknown>>;
type Key = (data: Data) => string | null;

const none: Key = () => null;

/** Null, of which an object is not normalised, where a key field was not selected. */
const keyOf =
  (fields: readonly string[]): Key =>
  (data) => {
    const values = fields.map((field) => data[field]);
    return values.includes(undefined) ? null : values.length === 1 ? String(values[0]) : JSON.stringify(values);
  };

/** What is read anew after these mutations, since they change what lists and counts answer. */
const AFFECTED: Record<string, readonly string[]> = {
  createShards: ["shards", "namespaces", "namespace", "nodes", "node", "changes"],
  updateShard: ["shards", "shard", "nodes", "node", "changes", "shardHistory"],
  updateShards: ["shards", "shard", "nodes", "node", "changes", "shardHistory"],
  deleteShards: ["shards", "shard", "namespaces", "namespace", "nodes", "node", "changes"],
  configureNamespace: ["namespaces", "namespace", "changes"],
  registerNode: ["nodes", "node", "changes"],
  updateNode: ["nodes", "node", "changes"],
  drainNode: ["nodes", "node", "changes"],
  planRebalance: ["rebalancePlans", "changes"],
  rollbackChange: ["rebalancePlans", "changes"],
  approvePlan: ["rebalancePlan", "rebalancePlans", "changes"],
  rejectPlan: ["rebalancePlan", "rebalancePlans", "changes"],
  stopPlan: ["rebalancePlan", "rebalancePlans", "changes"],
  applyPlan: ["rebalancePlan", "rebalancePlans", "changes", "shards", "shard", "nodes", "node"],
};

interface Cache {
  inspectFields(entity: "Query"): { fieldName: string; fieldKey: string }[];
  invalidate(entity: "Query", field: string): void;
}

const updates = Object.fromEntries(
  Object.entries(AFFECTED).map(([mutation, fields]) => [
    mutation,
    (_result: unknown, _args: unknown, cache: Cache): void => {
      for (const { fieldName, fieldKey } of cache.inspectFields("Query")) {
        if (fields.includes(fieldName)) cache.invalidate("Query", fieldKey);
      }
    },
  ]),
);

/** `keys` and `updates` of graphcache's cacheExchange. */
export const graphcacheOptions = {
  keys: {
    ...Object.fromEntries(embeddedTypes.map((type) => [type, none])),
    ...Object.fromEntries(Object.entries(keyFields).map(([type, fields]) => [type, keyOf(fields)])),
  } as Record<string, Key>,
  updates: { Mutation: updates },
};
