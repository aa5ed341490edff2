// Fastify with Mercurius and its JIT over the tables of schema.sql, once with a statement a request and once from
// memory (fields that begin with `kept`). PGHOST, PGPORT, PGUSER and PGDATABASE as libpq has them.
import Fastify from "fastify";
import mercurius from "mercurius";
import pg from "pg";

const COLUMNS = {
  namespace: "namespace",
  shardId: "shard_id",
  strategy: "strategy",
  ownerNodeId: "owner_node_id",
  leaderId: "leader_id",
  capacityHint: "capacity_hint",
  status: "status",
  version: "version::int",
  checksum: "checksum",
  updatedAt: "updated_at::text",
  changeTicket: "change_ticket",
};
const selected = Object.entries(COLUMNS).map(([field, column]) => `${column} AS "${field}"`);
const select = `SELECT ${selected.join(", ")} FROM shards`;
const ONE = { name: "one", text: `${select} WHERE namespace = $1 AND shard_id = $2` };
const PAGE = { name: "page", text: `${select} WHERE namespace = $1 ORDER BY shard_id LIMIT $2` };

const database = new pg.Pool({ max: 10 });
const kept = new Map(); // namespace -> shard id -> row
for (const row of (await database.query(`${select} ORDER BY namespace, shard_id`)).rows) {
  if (!kept.has(row.namespace)) kept.set(row.namespace, new Map());
  kept.get(row.namespace).set(row.shardId, row);
}
const pages = new Map([...kept].map(([namespace, shards]) => [namespace, [...shards.values()]]));

const schema = `
  type Shard {
    namespace: String!
    shardId: String!
    strategy: String!
    ownerNodeId: String!
    leaderId: String
    capacityHint: Float!
    status: String!
    version: Int!
    checksum: String!
    updatedAt: String!
    changeTicket: String
  }
  type Query {
    shard(namespace: String!, shardId: String!): Shard
    shards(namespace: String!, first: Int!): [Shard!]!
    keptShard(namespace: String!, shardId: String!): Shard
    keptShards(namespace: String!, first: Int!): [Shard!]!
  }
`;
const resolvers = {
  Query: {
    async shard(_root, { namespace, shardId }) {
      const { rows } = await database.query({ ...ONE, values: [namespace, shardId] });
      return rows[0];
    },
    async shards(_root, { namespace, first }) {
      const { rows } = await database.query({ ...PAGE, values: [namespace, first] });
      return rows;
    },
    keptShard: (_root, { namespace, shardId }) => kept.get(namespace)?.get(shardId),
    keptShards: (_root, { namespace, first }) => (pages.get(namespace) ?? []).slice(0, first),
  },
};

const server = Fastify();
server.register(mercurius, { schema, resolvers, jit: 1 });
const address = await server.listen({ host: "127.0.0.1", port: 0 });
console.log(`${address}/graphql`);
