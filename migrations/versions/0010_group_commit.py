"""Many changes are committed by one call of a function: each of them as `commit_change` would, under the head once.

Changes of one call are independent of each other: they name no shard and no idempotency key twice, and none relies on
what another writes. `persistence/postgres/group_commit.py` is the one caller, and sees to that. So all guards are
checked before anything is written, and all rows are written by one statement.

Programs of 0009 and before call `commit_change` as they did.
"""

from __future__ import annotations

from alembic import op

from migrations.compatibility import serves

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

IDENTITY = """
    (SELECT system_identifier FROM pg_control_system())
    || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
    || '/' || 'stream_head'::regclass::oid
"""
TIMELINE = "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint"

# Arrays `p_of_*` have a member for each change, the others one for each row; `p_change` is the change of a row, from 1,
# and `p_place` its place in it, from 0. A change that is refused writes nothing and is answered with the guard that
# does not hold, and takes no other with it. The answer has one row for each change: one that grew with the rows could
# fill the buffers of a socket whose client does not read, and then it is sent before the commit.
COMMIT_CHANGES = f"""
CREATE FUNCTION commit_changes(
    p_program text, p_timeline bigint,
    p_of_change_kind text[], p_of_actor text[], p_of_reason text[], p_of_ticket text[], p_of_metadata text[],
    p_of_namespaces text[], p_of_idempotency_key text[], p_of_idempotency_digest bytea[], p_of_request_digest bytea[],
    p_of_content_digest bytea[], p_of_forced text[], p_of_decided_at timestamptz[], p_of_guards text[],
    p_of_count bigint[],
    p_change int[], p_place bigint[],
    p_kind text[], p_namespace text[], p_shard_id text[], p_strategy text[], p_owner_node_id text[], p_leader_id text[],
    p_capacity_hint float8[], p_locality_hint text[], p_status text[], p_pinned_by text[], p_pinned_reason text[],
    p_pinned_until timestamptz[], p_change_ticket text[], p_anti_affinity_group text[], p_version bigint[],
    p_owner_epoch bigint[], p_checksum text[], p_changed_fields text[], p_previous_owner text[],
    p_previous_revision bigint[], p_previous_updated_at timestamptz[], p_created_at timestamptz[], p_previous text[],
    p_current text[], p_move_reason text[],
    p_delta_change int[], p_delta_name text[], p_delta_high bigint[], p_delta_low bigint[], p_delta_count bigint[]
) RETURNS TABLE (
    refused text, epoch text, revision bigint, change_id bigint, committed_at timestamptz, hash bytea
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $function$
#variable_conflict use_column
DECLARE
    v_head stream_head%ROWTYPE;
    v_elsewhere boolean;
    v_timeline bigint := {TIMELINE};
    v_changes int := cardinality(p_of_change_kind);
    v_refused text[] := array_fill(NULL::text, ARRAY[v_changes]);
    v_first bigint[] := array_fill(NULL::bigint, ARRAY[v_changes]);
    v_last bigint[] := array_fill(NULL::bigint, ARRAY[v_changes]);
    v_ids bigint[] := array_fill(NULL::bigint, ARRAY[v_changes]);
    v_hashes bytea[] := array_fill(NULL::bytea, ARRAY[v_changes]);
    v_checked text;
    v_broken text;
    v_all text;
    v_at timestamptz;
    v_microseconds bigint;
    v_revision bigint;
    v_id bigint;
    v_hash bytea;
    i int;
BEGIN
    SELECT h.* INTO STRICT v_head FROM stream_head AS h WHERE h.id = 1 FOR UPDATE;
    SELECT split_part(h.identity, '/', 3) <> h.tableoid::text INTO v_elsewhere FROM stream_head AS h WHERE h.id = 1;
    PERFORM set_config('lock_timeout', '50ms', true);

    IF NOT p_program = ANY (v_head.compatible_revisions) THEN
        v_all := 'schema';
    ELSIF v_timeline < greatest(CASE WHEN NOT v_elsewhere THEN v_head.timeline END, p_timeline) THEN
        v_all := 'timeline';
    END IF;
    IF v_all IS NOT NULL THEN
        RETURN QUERY SELECT v_all, NULL::text, NULL::bigint, NULL::bigint, NULL::timestamptz, NULL::bytea
        FROM generate_series(1, v_changes);
        RETURN;
    END IF;

    v_at := greatest(v_head.committed_at, clock_timestamp(), (SELECT max(d.at) FROM unnest(p_of_decided_at) AS d (at)));
    FOR i IN 1 .. v_changes LOOP
        -- Most rely on the same namespace at the same version: what held for the change before holds for this one.
        IF p_of_guards[i] IS DISTINCT FROM v_checked THEN
            v_checked := p_of_guards[i];
            v_broken := broken_guard(v_checked::jsonb, v_at);
        END IF;
        v_refused[i] := v_broken;
    END LOOP;
    FOR i IN
        SELECT d.change FROM unnest(p_of_idempotency_digest) WITH ORDINALITY AS d (digest, change)
        JOIN changes AS c ON c.idempotency_digest = d.digest
    LOOP
        v_refused[i] := 'idempotency key';
    END LOOP;
    FOR i IN
        SELECT DISTINCT w.change
        FROM unnest(p_change, p_kind, p_namespace, p_shard_id, p_version, p_previous_revision)
            AS w (change, kind, namespace, shard_id, version, previous_revision)
        LEFT JOIN shards AS s ON s.namespace = w.namespace AND s.shard_id = w.shard_id
        LEFT JOIN shard_tombstones AS t ON t.namespace = w.namespace AND t.shard_id = w.shard_id
        WHERE CASE w.kind
            WHEN 'CREATED' THEN s.shard_id IS NOT NULL OR coalesce(t.version, 0) <> w.version - 1
            ELSE s.version IS DISTINCT FROM w.version - 1 OR s.revision IS DISTINCT FROM w.previous_revision
        END
    LOOP
        v_refused[i] := coalesce(v_refused[i], 'shards');
    END LOOP;

    v_revision := v_head.revision;
    v_id := v_head.change_id;
    v_hash := v_head.hash;
    v_microseconds := (extract(epoch FROM v_at) * 1000000)::int8;
    FOR i IN 1 .. v_changes LOOP
        IF v_refused[i] IS NULL THEN
            v_id := v_id + 1;
            v_first[i] := v_revision + 1;
            v_revision := v_revision + p_of_count[i];
            -- Repeats audit.chain_hash byte for byte.
            v_hash := sha256(
                int4send(32) || v_hash
                || int4send(8) || int8send(v_id)
                || int4send(8) || int8send(v_revision)
                || int4send(8) || int8send(p_of_count[i])
                || int4send(8) || int8send(v_microseconds)
                || int4send(32) || p_of_content_digest[i]
            );
            v_last[i] := v_revision;
            v_ids[i] := v_id;
            v_hashes[i] := v_hash;
        END IF;
    END LOOP;

    IF v_id > v_head.change_id THEN
        IF v_elsewhere THEN
            v_head.epoch := replace(gen_random_uuid()::text, '-', '');
            v_head.identity := {IDENTITY};
        END IF;
        UPDATE stream_head AS h SET
            epoch = v_head.epoch, identity = v_head.identity, timeline = v_timeline, revision = v_revision,
            change_id = v_id, committed_at = v_at, hash = v_hash
        WHERE h.id = 1;

        INSERT INTO changes AS c (id, kind, actor, reason, change_ticket, metadata, namespaces, head_revision,
            shard_count, committed_at, idempotency_key, idempotency_digest, request_digest, content_digest, hash,
            forced)
        SELECT d.id, d.kind, d.actor, d.reason, d.ticket, d.metadata::json, string_to_array(d.namespaces, ','), d.last,
            d.count, v_at, d.idempotency_key, d.idempotency_digest, d.request_digest, d.content_digest, d.hash, d.forced
        FROM unnest(v_ids, p_of_change_kind, p_of_actor, p_of_reason, p_of_ticket, p_of_metadata, p_of_namespaces,
            v_last, p_of_count, p_of_idempotency_key, p_of_idempotency_digest, p_of_request_digest, p_of_content_digest,
            v_hashes, p_of_forced)
            AS d (id, kind, actor, reason, ticket, metadata, namespaces, last, count, idempotency_key,
                idempotency_digest, request_digest, content_digest, hash, forced)
        WHERE d.id IS NOT NULL ORDER BY d.id;

        WITH w AS MATERIALIZED (
            SELECT w.*, v_first[w.change] + w.place AS revision, v_ids[w.change] AS change_id FROM unnest(
                p_change, p_place, p_kind, p_namespace, p_shard_id, p_strategy, p_owner_node_id, p_leader_id,
                p_capacity_hint, p_locality_hint, p_status, p_pinned_by, p_pinned_reason, p_pinned_until,
                p_change_ticket, p_anti_affinity_group, p_version, p_owner_epoch, p_checksum, p_changed_fields,
                p_previous_owner, p_previous_revision, p_previous_updated_at, p_created_at, p_previous, p_current,
                p_move_reason
            ) AS w (
                change, place, kind, namespace, shard_id, strategy, owner_node_id, leader_id, capacity_hint,
                locality_hint, status, pinned_by, pinned_reason, pinned_until, change_ticket, anti_affinity_group,
                version, owner_epoch, checksum, changed_fields, previous_owner, previous_revision, previous_updated_at,
                created_at, previous, current, move_reason
            )
            WHERE v_first[w.change] IS NOT NULL
        ), created AS (
            INSERT INTO shards AS s (namespace, shard_id, strategy, owner_node_id, leader_id, capacity_hint,
                locality_hint, status, pinned_by, pinned_reason, pinned_until, change_ticket, anti_affinity_group,
                version, owner_epoch, checksum, revision, created_at, updated_at)
            SELECT w.namespace, w.shard_id, w.strategy, w.owner_node_id, w.leader_id, w.capacity_hint, w.locality_hint,
                w.status, w.pinned_by, w.pinned_reason, w.pinned_until, w.change_ticket, w.anti_affinity_group,
                w.version, w.owner_epoch, w.checksum, w.revision, v_at, v_at
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
                owner_epoch = w.owner_epoch, checksum = w.checksum, revision = w.revision, updated_at = v_at
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
                shard_count = n.shard_count + d.count, revision = d.revision
            FROM (
                SELECT g.name, bit_xor(g.high) AS high, bit_xor(g.low) AS low, sum(g.count)::bigint AS count,
                    max(v_last[g.change]) AS revision
                FROM unnest(p_delta_change, p_delta_name, p_delta_high, p_delta_low, p_delta_count)
                    AS g (change, name, high, low, count)
                WHERE v_first[g.change] IS NOT NULL
                GROUP BY g.name
            ) AS d
            WHERE n.name = d.name
        )
        INSERT INTO shard_history AS y (revision, change_id, namespace, shard_id, version, kind, changed_fields,
            owner_node_id, previous_owner_node_id, previous_revision, previous_updated_at, created_at, previous,
            current, move_reason)
        SELECT w.revision, w.change_id, w.namespace, w.shard_id, w.version, w.kind,
            string_to_array(w.changed_fields, ','), CASE WHEN w.kind <> 'DELETED' THEN w.owner_node_id END,
            w.previous_owner, w.previous_revision, w.previous_updated_at, coalesce(w.created_at, v_at),
            w.previous::json, w.current::json, w.move_reason
        FROM w ORDER BY w.revision;

        PERFORM pg_notify('omnirelay_shards', v_revision::text);
    END IF;

    RETURN QUERY SELECT d.refused, v_head.epoch::text, d.last, d.id, v_at, d.hash
    FROM unnest(v_refused, v_last, v_ids, v_hashes) AS d (refused, last, id, hash);
END
$function$
"""  # noqa: S608 - the interpolated parts are the constants above


def upgrade() -> None:
    # As it is: a colon in it is no parameter.
    op.get_bind().exec_driver_sql(COMMIT_CHANGES)
    serves("0010", "0009", "0008")


def downgrade() -> None:
    op.execute("DROP FUNCTION commit_changes")
    serves("0009", "0008")
