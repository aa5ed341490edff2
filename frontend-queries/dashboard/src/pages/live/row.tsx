/** One row of the ticker. */
import { useEffect } from "react";
import { Link } from "wouter";

import { nameShard } from "../../api/live.js";
import { Instant } from "../../components/instant.js";
import { shardPath } from "../../lib/query.js";
import { durationOf } from "../../lib/time.js";
import type { ChangeRow } from "../../store/changes.js";
import type { MeshDiff } from "../../store/mesh.js";
import { text } from "../../text.js";
import type { LiveRow } from "./rows.js";

const words = text.live;

export function LiveRowView({ row, isOpen, onToggle }: { row: LiveRow; isOpen: boolean; onToggle(change: ChangeRow): void }) {
  switch (row.type) {
    case "gap":
      return <div className="live-gap quiet">{words.gap(durationOf(row.milliseconds))}</div>;
    case "day":
      return <div className="live-day">{row.date}</div>;
    case "note":
      return <div className="live-shard quiet">{row.note === "reading" ? words.reading : words.omitted(row.count)}</div>;
    case "shard":
      return (
        <div className="live-shard">
          <Link href={shardPath(row.diff.namespace, row.diff.shardId)} className="cut">
            {row.diff.namespace}/{row.diff.shardId}
          </Link>
          <span className="cut">{whatOf(row.diff)}</span>
        </div>
      );
    case "change":
      return <Change change={row.change} isOpen={isOpen} onToggle={onToggle} />;
  }
}

function Change({ change, isOpen, onToggle }: { change: ChangeRow; isOpen: boolean; onToggle(change: ChangeRow): void }) {
  const isUnnamed = change.shardCount === 1 && change.diffs.length === 0;
  const canOpen = change.shardCount > 1 || isUnnamed;
  useEffect(() => {
    if (isUnnamed) nameShard(change.id);
  }, [isUnnamed, change.id]);
  return (
    <div className="live-row" tabIndex={canOpen ? undefined : 0}>
      <span className="time">
        <Instant at={change.committedAt} as="time" />
      </span>
      <span className="revision quiet">{change.revision === null ? "" : text.connection.revision(change.revision)}</span>
      <span className="actor cut" title={change.actor}>
        {change.actor}
      </span>
      <span className="ticket cut quiet">{change.ticket ?? ""}</span>
      <span className="kind cut">{text.done[change.kind]}</span>
      <span className="what cut">
        {canOpen ? (
          <button type="button" className="link" aria-expanded={isOpen} title={isOpen ? words.collapse : words.expand} onClick={() => onToggle(change)}>
            {summaryOf(change)}
          </button>
        ) : (
          <Summary change={change} />
        )}
        {change.planId && (
          <>
            {" "}
            <Link href={`/plans/${change.planId}`}>{words.plan(change.planId)}</Link>
          </>
        )}
      </span>
      <span className="reason cut" title={change.forced ? `${change.reason}\n${words.forced}: ${change.forced}` : change.reason}>
        {change.forced !== null && <span className="tag lost">{words.forced}</span>} {change.reason}
      </span>
    </div>
  );
}

function Summary({ change }: { change: ChangeRow }) {
  const diff = change.diffs[0];
  if (diff !== undefined) {
    return (
      <>
        <Link href={shardPath(diff.namespace, diff.shardId)}>
          {diff.namespace}/{diff.shardId}
        </Link>{" "}
        {whatOf(diff)}
      </>
    );
  }
  if (change.subject && (change.kind === "REGISTER_NODE" || change.kind === "UPDATE_NODE" || change.kind === "DRAIN_NODE")) {
    return <Link href={`/?node=${encodeURIComponent(change.subject)}`}>{change.subject}</Link>;
  }
  return <>{change.subject ?? change.namespaces.join(", ")}</>;
}

function summaryOf(change: ChangeRow): string {
  const nodes = new Set<string>();
  for (const { previous, current } of change.diffs) {
    if (previous) nodes.add(previous.ownerNodeId);
    if (current) nodes.add(current.ownerNodeId);
  }
  return words.many(change.shardCount, nodes.size);
}

function whatOf(diff: MeshDiff): string {
  const from = diff.previous?.ownerNodeId;
  const to = diff.current?.ownerNodeId;
  if (from === undefined) return words.created(to ?? "");
  if (to === undefined) return words.deleted(from);
  if (from !== to) return words.moved(from, to);
  return words.fields(diff.changedFields.join(", "));
}
