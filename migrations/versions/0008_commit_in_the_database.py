"""A change is committed by one call of a function, which takes the stream head, re-checks what the decision relied on,
and writes.

The head is never locked while a client computes: a server that is frozen or cut off at any point of a write delays
no other writer. `persistence/postgres/commit.py` is the one caller, and documents the parameters.

The head is given two columns. `timeline` is the newest PostgreSQL timeline that was seen: an older one may not
write. `compatible_revisions` are the program revisions that this schema serves: any other may not write either.
Programs of revision 0007 and before know nothing of this. They read `origin`, which is gone, so that each of their
connections and commits is refused by the database instead of writing what this schema no longer means.
"""

from __future__ import annotations

from alembic import op

from migrations.compatibility import serves

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

IDENTITY = """
    (SELECT system_identifier FROM pg_control_system())
    || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
    || '/' || 'stream_head'::regclass::oid
"""
TIMELINE = "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint"
ORIGIN = """
    (SELECT system_identifier FROM pg_control_system())
    || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
    || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
    || '/' || 'stream_head'::regclass::oid
"""

# READ COMMITTED gives each statement of a VOLATILE function a snapshot of its own, and every writer holds the head:
# what is read after the head was taken is final until the end of the transaction, so a guard that holds is never stale.
# `refused` names the guard that does not hold; then nothing is written and the caller decides anew.
#
# What sha256(...) covers repeats audit.chain_hash byte for byte.
COMMIT_CHANGE = f"""
CREATE FUNCTION commit_change(
    p_program text, p_timeline bigint,
    p_change_kind text, p_actor text, p_reason text, p_ticket text, p_metadata text, p_namespaces text[],
    p_configuration text, p_idempotency_key text, p_idempotency_digest bytea, p_request_digest bytea,
    p_content_digest bytea, p_forced text,
    p_decided_at timestamptz, p_guards jsonb,
    p_kind text[], p_namespace text[], p_shard_id text[], p_strategy text[], p_owner_node_id text[], p_leader_id text[],
    p_capacity_hint float8[], p_locality_hint text[], p_status text[], p_pinned_by text[], p_pinned_reason text[],
    p_pinned_until timestamptz[], p_change_ticket text[], p_anti_affinity_group text[], p_version bigint[],
    p_owner_epoch bigint[], p_checksum text[], p_changed_fields text[], p_previous_owner text[],
    p_previous_revision bigint[], p_previous_updated_at timestamptz[], p_created_at timestamptz[], p_previous text[],
    p_current text[], p_move_reason text[],
    p_delta_name text[], p_delta_high bigint[], p_delta_low bigint[], p_delta_count bigint[],
    p_configured jsonb, p_node jsonb, p_document_id text, p_document text, p_plans jsonb,
    p_floor bigint, p_steps text[],
    OUT refused text, OUT epoch text, OUT revision bigint, OUT change_id bigint, OUT committed_at timestamptz,
    OUT hash bytea, OUT counted jsonb
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $function$
DECLARE
    v_head stream_head%ROWTYPE;
    v_elsewhere boolean;
    v_timeline bigint := {TIMELINE};
    v_count int := cardinality(p_kind);
    v_first bigint;
    v_step text;
BEGIN
    IF p_document IS NOT NULL THEN
        -- A megabyte of JSON is read and stored before the head is taken.
        INSERT INTO rebalance_plan_documents AS d (id, document) VALUES (p_document_id, p_document::json)
        ON CONFLICT DO NOTHING;
    END IF;

    SELECT h.* INTO STRICT v_head FROM stream_head AS h WHERE h.id = 1 FOR UPDATE;
    -- A table that was restored over this one while connections stayed open has another oid than the stream was born
    -- with: it may be of a cluster with other timelines, and its revisions may contradict those given before.
    SELECT split_part(h.identity, '/', 3) <> h.tableoid::text INTO v_elsewhere FROM stream_head AS h WHERE h.id = 1;
    -- From here on every writer waits: for a lock that another session holds there is little time.
    IF p_steps IS NULL THEN
        PERFORM set_config('lock_timeout', '50ms', true);
    END IF;

    IF NOT p_program = ANY (v_head.compatible_revisions) THEN
        refused := 'schema';
    ELSIF v_timeline < greatest(CASE WHEN NOT v_elsewhere THEN v_head.timeline END, p_timeline) THEN
        refused := 'timeline';
    ELSIF p_idempotency_digest IS NOT NULL AND EXISTS (
        SELECT FROM changes AS c WHERE c.idempotency_digest = p_idempotency_digest
    ) THEN
        refused := 'idempotency key';
    ELSE
        committed_at := greatest(v_head.committed_at, clock_timestamp(), p_decided_at);
        refused := broken_guard(p_guards, committed_at);
    END IF;
    IF refused IS NULL AND EXISTS (
        SELECT FROM unnest(p_kind, p_namespace, p_shard_id, p_version, p_previous_revision)
            AS w (kind, namespace, shard_id, version, previous_revision)
        LEFT JOIN shards AS s ON s.namespace = w.namespace AND s.shard_id = w.shard_id
        LEFT JOIN shard_tombstones AS t ON t.namespace = w.namespace AND t.shard_id = w.shard_id
        WHERE CASE w.kind
            -- A key that is absent is held as well: its counters go on from the tombstone that the decision read.
            WHEN 'CREATED' THEN s.shard_id IS NOT NULL OR coalesce(t.version, 0) <> w.version - 1
            ELSE s.version IS DISTINCT FROM w.version - 1 OR s.revision IS DISTINCT FROM w.previous_revision
        END
    ) THEN
        refused := 'shards';
    END IF;
    IF refused IS NOT NULL THEN
        IF p_document IS NOT NULL THEN
            -- It is written already, and must not stay.
            RAISE EXCEPTION USING ERRCODE = 'OR001', MESSAGE = refused;
        END IF;
        RETURN;
    END IF;

    IF p_steps IS NOT NULL THEN
        FOREACH v_step IN ARRAY p_steps LOOP
            EXECUTE v_step;
        END LOOP;
    END IF;

    epoch := v_head.epoch;
    IF v_elsewhere THEN
        epoch := replace(gen_random_uuid()::text, '-', '');
        v_head.identity := {IDENTITY};
    END IF;
    v_first := v_head.revision + 1;
    revision := v_head.revision + v_count;
    change_id := v_head.change_id + 1;
    hash := sha256(
        int4send(32) || v_head.hash
        || int4send(8) || int8send(change_id)
        || int4send(8) || int8send(revision)
        || int4send(8) || int8send(v_count)
        || int4send(8) || int8send((extract(epoch FROM committed_at) * 1000000)::int8)
        || int4send(32) || p_content_digest
    );
    UPDATE stream_head AS h SET
        epoch = commit_change.epoch, identity = v_head.identity, timeline = v_timeline,
        revision = commit_change.revision, change_id = commit_change.change_id,
        committed_at = commit_change.committed_at, hash = commit_change.hash,
        floor = coalesce(p_floor, h.floor)
    WHERE h.id = 1;

    INSERT INTO changes AS c (id, kind, actor, reason, change_ticket, metadata, namespaces, head_revision, shard_count,
        committed_at, configuration, idempotency_key, idempotency_digest, request_digest, content_digest, hash, forced)
    VALUES (commit_change.change_id, p_change_kind, p_actor, p_reason, p_ticket, p_metadata::json, p_namespaces,
        commit_change.revision, v_count, commit_change.committed_at, p_configuration::json, p_idempotency_key,
        p_idempotency_digest, p_request_digest, p_content_digest, commit_change.hash, p_forced);

    IF v_count > 0 THEN
        WITH w AS MATERIALIZED (
            SELECT * FROM unnest(
                p_kind, p_namespace, p_shard_id, p_strategy, p_owner_node_id, p_leader_id, p_capacity_hint,
                p_locality_hint, p_status, p_pinned_by, p_pinned_reason, p_pinned_until, p_change_ticket,
                p_anti_affinity_group, p_version, p_owner_epoch, p_checksum, p_changed_fields, p_previous_owner,
                p_previous_revision, p_previous_updated_at, p_created_at, p_previous, p_current, p_move_reason
            ) WITH ORDINALITY AS w (
                kind, namespace, shard_id, strategy, owner_node_id, leader_id, capacity_hint, locality_hint, status,
                pinned_by, pinned_reason, pinned_until, change_ticket, anti_affinity_group, version, owner_epoch,
                checksum, changed_fields, previous_owner, previous_revision, previous_updated_at, created_at, previous,
                current, move_reason, place
            )
        ), created AS (
            INSERT INTO shards AS s (namespace, shard_id, strategy, owner_node_id, leader_id, capacity_hint,
                locality_hint, status, pinned_by, pinned_reason, pinned_until, change_ticket, anti_affinity_group,
                version, owner_epoch, checksum, revision, created_at, updated_at)
            SELECT w.namespace, w.shard_id, w.strategy, w.owner_node_id, w.leader_id, w.capacity_hint, w.locality_hint,
                w.status, w.pinned_by, w.pinned_reason, w.pinned_until, w.change_ticket, w.anti_affinity_group,
                w.version, w.owner_epoch, w.checksum, v_first - 1 + w.place, commit_change.committed_at,
                commit_change.committed_at
            FROM w WHERE w.kind = 'CREATED'
        ), revived AS (
            DELETE FROM shard_tombstones AS t USING w
            WHERE w.kind = 'CREATED' AND t.namespace = w.namespace AND t.shard_id = w.shard_id
        ), updated AS (
            UPDATE shards AS s SET
                strategy = w.strategy, owner_node_id = w.owner_node_id, leader_id = w.leader_id,
                capacity_hint = w.capacity_hint, locality_hint = w.locality_hint, status = w.status,
                pinned_by = w.pinned_by, pinned_reason = w.pinned_reason, pinned_until = w.pinned_until,
                change_ticket = w.change_ticket, anti_affinity_group = w.anti_affinity_group, version = w.version,
                owner_epoch = w.owner_epoch, checksum = w.checksum, revision = v_first - 1 + w.place,
                updated_at = commit_change.committed_at
            FROM w WHERE w.kind = 'UPDATED' AND s.namespace = w.namespace AND s.shard_id = w.shard_id
        ), deleted AS (
            DELETE FROM shards AS s USING w
            WHERE w.kind = 'DELETED' AND s.namespace = w.namespace AND s.shard_id = w.shard_id
        ), buried AS (
            INSERT INTO shard_tombstones AS t (namespace, shard_id, version, owner_epoch)
            SELECT w.namespace, w.shard_id, w.version, w.owner_epoch FROM w WHERE w.kind = 'DELETED'
        ), heads AS (
            UPDATE namespace_heads AS n SET
                digest_high = n.digest_high # d.high, digest_low = n.digest_low # d.low,
                shard_count = n.shard_count + d.count, revision = commit_change.revision
            FROM unnest(p_delta_name, p_delta_high, p_delta_low, p_delta_count) AS d (name, high, low, count)
            WHERE n.name = d.name
        )
        INSERT INTO shard_history AS y (revision, change_id, namespace, shard_id, version, kind, changed_fields,
            owner_node_id, previous_owner_node_id, previous_revision, previous_updated_at, created_at, previous,
            current, move_reason)
        SELECT v_first - 1 + w.place, commit_change.change_id, w.namespace, w.shard_id, w.version, w.kind,
            string_to_array(w.changed_fields, ','), CASE WHEN w.kind <> 'DELETED' THEN w.owner_node_id END,
            w.previous_owner, w.previous_revision, w.previous_updated_at,
            coalesce(w.created_at, commit_change.committed_at), w.previous::json, w.current::json, w.move_reason
        FROM w;
    END IF;

    IF p_configured IS NOT NULL THEN
        counted := save_namespace(p_configured, committed_at);
    END IF;
    IF p_node IS NOT NULL THEN
        counted := save_node(p_node, committed_at);
    END IF;
    IF p_plans IS NOT NULL THEN
        PERFORM save_plans(p_plans, change_id, committed_at);
    END IF;
    PERFORM pg_notify('omnirelay_shards', revision::text);
END
$function$
"""  # noqa: S608 - the interpolated parts are the constants above

# Null if all of them hold. Each is checked only where the decision relied on it.
BROKEN_GUARD = """
CREATE FUNCTION broken_guard(p_guards jsonb, p_committed_at timestamptz) RETURNS text
LANGUAGE plpgsql AS $function$
BEGIN
    IF p_committed_at >= (p_guards ->> 'frozenFrom')::timestamptz THEN
        RETURN 'freezes';
    ELSIF p_committed_at >= (p_guards ->> 'expiresAt')::timestamptz THEN
        RETURN 'plans';
    ELSIF p_guards ? 'namespaces' AND EXISTS (
        SELECT FROM jsonb_each_text(p_guards -> 'namespaces') AS g (name, version)
        LEFT JOIN namespaces AS n ON n.name = g.name
        WHERE n.version IS DISTINCT FROM g.version::bigint
    ) THEN
        RETURN 'namespaces';
    ELSIF p_guards ? 'nodes' AND EXISTS (
        SELECT FROM jsonb_each_text(p_guards -> 'nodes') AS g (node_id, version)
        LEFT JOIN nodes AS n ON n.node_id = g.node_id
        WHERE n.version IS DISTINCT FROM g.version::bigint
    ) THEN
        RETURN 'nodes';
    ELSIF p_guards ? 'ownsNone' AND EXISTS (
        SELECT FROM shards AS s WHERE s.owner_node_id = p_guards ->> 'ownsNone'
    ) THEN
        RETURN 'node''s shards';
    ELSIF p_guards ? 'plans' AND EXISTS (
        SELECT FROM jsonb_each_text(p_guards -> 'plans') AS g (id, change_id)
        LEFT JOIN rebalance_plans AS p ON p.id = g.id
        WHERE p.latest_change_id IS DISTINCT FROM g.change_id::bigint
    ) THEN
        RETURN 'plans';
    ELSIF p_guards ? 'fewestShards' AND EXISTS (
        SELECT FROM jsonb_each_text(p_guards -> 'fewestShards') AS g (name, count)
        LEFT JOIN namespace_heads AS n ON n.name = g.name
        WHERE n.shard_count IS NULL OR n.shard_count < g.count::bigint
    ) THEN
        RETURN 'number of shards';
    ELSIF p_guards ? 'movesLeft' AND EXISTS (
        SELECT FROM jsonb_each_text(p_guards -> 'movesLeft') AS g (name, count)
        WHERE g.count::bigint < (
            SELECT count(*) FROM shard_history AS h
            WHERE h.namespace = g.name AND h.revision > coalesce((p_guards ->> 'revision')::bigint, 0)
                AND h.kind = 'UPDATED' AND h.owner_node_id <> h.previous_owner_node_id
        )
    ) THEN
        RETURN 'moves';
    ELSIF p_guards ? 'groups' AND EXISTS (
        SELECT FROM jsonb_to_recordset(p_guards -> 'groups')
            AS g (namespace text, name text, members bigint, revision bigint)
        CROSS JOIN LATERAL (
            SELECT count(*) AS members, coalesce(max(s.revision), 0) AS revision FROM shards AS s
            WHERE s.namespace = g.namespace AND s.anti_affinity_group = g.name
        ) AS s
        WHERE s.members <> g.members OR s.revision <> g.revision
    ) THEN
        RETURN 'anti-affinity groups';
    ELSIF p_guards ? 'shards' AND EXISTS (
        SELECT FROM jsonb_to_recordset(p_guards -> 'shards') AS g (namespace text, shard_id text, version bigint)
        LEFT JOIN shards AS s ON s.namespace = g.namespace AND s.shard_id = g.shard_id
        WHERE s.version IS DISTINCT FROM g.version
    ) THEN
        RETURN 'shards';
    END IF;
    RETURN NULL;
END
$function$
"""

# What the store follows up by itself beside the configuration: what the answer shows of it is as of the commit.
SAVE_NAMESPACE = """
CREATE FUNCTION save_namespace(p_namespace jsonb, p_committed_at timestamptz) RETURNS jsonb
LANGUAGE plpgsql AS $function$
DECLARE
    v_name text := p_namespace ->> 'name';
    v_version bigint := (p_namespace ->> 'version')::bigint;
BEGIN
    IF v_version = 1 THEN
        INSERT INTO namespaces (name, strategy, strategy_parameters, algorithm_version, parameters_digest, version,
            policy, created_at, updated_at)
        VALUES (v_name, p_namespace ->> 'strategy', p_namespace -> 'strategyParameters',
            (p_namespace ->> 'algorithmVersion')::int, p_namespace ->> 'parametersDigest', v_version,
            p_namespace -> 'policy', p_committed_at, p_committed_at);
        INSERT INTO namespace_heads (name, digest_high, digest_low, shard_count, revision) VALUES (v_name, 0, 0, 0, 0);
    ELSE
        UPDATE namespaces AS n SET
            strategy = p_namespace ->> 'strategy', strategy_parameters = p_namespace -> 'strategyParameters',
            algorithm_version = (p_namespace ->> 'algorithmVersion')::int,
            parameters_digest = p_namespace ->> 'parametersDigest', version = v_version,
            policy = p_namespace -> 'policy', updated_at = p_committed_at
        WHERE n.name = v_name;
    END IF;
    RETURN (
        SELECT jsonb_build_object('digestHigh', n.digest_high, 'digestLow', n.digest_low,
            'shardCount', n.shard_count, 'revision', n.revision)
        FROM namespace_heads AS n WHERE n.name = v_name
    );
END
$function$
"""

SAVE_NODE = """
CREATE FUNCTION save_node(p_node jsonb, p_committed_at timestamptz) RETURNS jsonb
LANGUAGE plpgsql AS $function$
DECLARE
    v_node_id text := p_node ->> 'nodeId';
    v_version bigint := (p_node ->> 'version')::bigint;
BEGIN
    IF v_version = 1 THEN
        INSERT INTO nodes (node_id, region, zone, labels, weight, status, change_ticket, version, created_at,
            updated_at)
        VALUES (v_node_id, p_node ->> 'region', p_node ->> 'zone', p_node -> 'labels', (p_node ->> 'weight')::int,
            p_node ->> 'status', p_node ->> 'changeTicket', v_version, p_committed_at, p_committed_at);
    ELSE
        UPDATE nodes AS n SET
            region = p_node ->> 'region', zone = p_node ->> 'zone', labels = p_node -> 'labels',
            weight = (p_node ->> 'weight')::int, status = p_node ->> 'status',
            change_ticket = p_node ->> 'changeTicket', version = v_version, updated_at = p_committed_at
        WHERE n.node_id = v_node_id;
    END IF;
    RETURN jsonb_build_object('shardCount', (SELECT count(*) FROM shards AS s WHERE s.owner_node_id = v_node_id));
END
$function$
"""

# `lifetime` (seconds) is given where a plan is proposed, for the first time or again.
SAVE_PLANS = """
CREATE FUNCTION save_plans(p_plans jsonb, p_change_id bigint, p_committed_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO rebalance_plans (id, kind, base_revision, namespaces, move_count, shard_count, status, moves_made,
        expires_at, change_id, approved_change_id, latest_change_id)
    SELECT g.id, g.kind, g.base_revision, g.namespaces, g.move_count, g.shard_count, g.status, 0,
        p_committed_at + make_interval(secs => g.lifetime), p_change_id, NULL, p_change_id
    FROM jsonb_to_recordset(p_plans) AS g (id text, kind text, base_revision bigint, namespaces text[], move_count int,
        shard_count bigint, status text, lifetime float8)
    WHERE g.kind IS NOT NULL;
    UPDATE rebalance_plans AS p SET
        status = g.status, moves_made = g.moves_made, latest_change_id = p_change_id,
        change_id = CASE WHEN g.lifetime IS NULL THEN p.change_id ELSE p_change_id END,
        expires_at = CASE WHEN g.lifetime IS NULL THEN p.expires_at
            ELSE p_committed_at + make_interval(secs => g.lifetime) END,
        approved_change_id = CASE WHEN g.lifetime IS NOT NULL THEN NULL WHEN g.status = 'APPROVED' THEN p_change_id
            ELSE p.approved_change_id END
    FROM jsonb_to_recordset(p_plans) AS g (id text, kind text, status text, moves_made int, lifetime float8)
    WHERE g.kind IS NULL AND p.id = g.id;
END
$function$
"""
FUNCTIONS = (COMMIT_CHANGE, BROKEN_GUARD, SAVE_NAMESPACE, SAVE_NODE, SAVE_PLANS)
NAMES = ("commit_change", "broken_guard", "save_namespace", "save_node", "save_plans")


# A copy that no server has been connected to yet is another stream; its identity is about to become its own.
NEW_EPOCH_OF_A_COPY = f"""
UPDATE stream_head SET epoch = replace(gen_random_uuid()::text, '-', '')
WHERE regexp_replace(origin, '/[0-9A-F]{{8}}/', '/') <> {IDENTITY}
"""  # noqa: S608 - a constant


def upgrade() -> None:
    op.execute(NEW_EPOCH_OF_A_COPY)
    op.drop_column("stream_head", "origin")
    op.execute("ALTER TABLE stream_head ADD COLUMN identity text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE stream_head ADD COLUMN timeline bigint NOT NULL DEFAULT 1")
    op.execute("ALTER TABLE stream_head ADD COLUMN compatible_revisions text[] NOT NULL DEFAULT '{}'")
    op.execute(f"UPDATE stream_head SET identity = {IDENTITY}, timeline = {TIMELINE}")  # noqa: S608 - constants
    serves("0008")
    for column in ("identity", "timeline", "compatible_revisions"):
        op.execute(f"ALTER TABLE stream_head ALTER COLUMN {column} DROP DEFAULT")
    op.create_check_constraint("timeline_positive", "stream_head", "timeline >= 1")
    for function in FUNCTIONS:
        # As it is: a colon in it is no parameter.
        op.get_bind().exec_driver_sql(function)


def downgrade() -> None:
    for name in NAMES:
        op.execute(f"DROP FUNCTION {name}")
    op.drop_constraint(op.f("ck_stream_head_timeline_positive"), "stream_head")
    for column in ("compatible_revisions", "timeline", "identity"):
        op.drop_column("stream_head", column)
    op.execute("ALTER TABLE stream_head ADD COLUMN origin text NOT NULL DEFAULT ''")
    op.execute(f"UPDATE stream_head SET origin = {ORIGIN}")  # noqa: S608 - a constant
    op.execute("ALTER TABLE stream_head ALTER COLUMN origin DROP DEFAULT")
