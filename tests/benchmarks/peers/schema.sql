-- What the peers serve: the benchmark's shards and their history, in two plain tables with an index for each query.
-- The rows are copied from the store's own tables, so that all contenders answer the same.
CREATE TABLE shards (
    namespace text NOT NULL,
    shard_id text NOT NULL,
    strategy text NOT NULL,
    owner_node_id text NOT NULL,
    leader_id text,
    capacity_hint double precision NOT NULL,
    status text NOT NULL,
    version bigint NOT NULL,
    checksum text NOT NULL,
    updated_at timestamptz NOT NULL,
    change_ticket text,
    PRIMARY KEY (namespace, shard_id)
);
CREATE TABLE shard_history (
    position bigint PRIMARY KEY,
    namespace text NOT NULL,
    shard_id text NOT NULL,
    version bigint NOT NULL,
    owner_node_id text,
    previous_owner_node_id text,
    actor text NOT NULL,
    reason text NOT NULL,
    change_ticket text,
    created_at timestamptz NOT NULL
);
CREATE INDEX ON shard_history (namespace, position);
CREATE INDEX ON shard_history (namespace, shard_id, position);
