/** What the ticker shows as a flat list of rows: changes, the shards of those that are open, and the times without any. */
import type { ChangeRow } from "../../store/changes.js";
import type { MeshDiff } from "../../store/mesh.js";

export type LiveRow =
  | { readonly type: "change"; readonly key: string; readonly change: ChangeRow }
  | { readonly type: "shard"; readonly key: string; readonly diff: MeshDiff }
  | { readonly type: "note"; readonly key: string; readonly note: "reading" | "omitted"; readonly count: number }
  | { readonly type: "gap"; readonly key: string; readonly milliseconds: number }
  /** Before the changes of a day other than that of the row above. */
  | { readonly type: "day"; readonly key: string; readonly date: string };

export interface LiveFilter {
  readonly namespace: string;
  readonly node: string;
  readonly actor: string;
  readonly ticket: string;
  readonly kind: string;
}

/** Without a change for so long there is a row that says so. */
const GAP_MS = 5 * 60_000;

export function matches(change: ChangeRow, filter: LiveFilter): boolean {
  return (
    (!filter.kind || change.kind === filter.kind) &&
    (!filter.actor || change.actor === filter.actor) &&
    (!filter.ticket || (change.ticket ?? "").toLowerCase().includes(filter.ticket.toLowerCase())) &&
    (!filter.namespace || change.namespaces.includes(filter.namespace) || change.subject === filter.namespace) &&
    (!filter.node || change.subject === filter.node || change.diffs.some((diff) => isOf(diff, filter.node)))
  );
}

export const isOf = (diff: MeshDiff, node: string): boolean =>
  diff.previous?.ownerNodeId === node || diff.current?.ownerNodeId === node;

/**
 * The newest first. `read` are diffs of changes that were not seen live, by the change's id; `dateOf` is the day of a time
 * in the zone that is shown, `today` that of now.
 */
export function rowsOf(
  changes: readonly ChangeRow[],
  filter: LiveFilter,
  isOpen: ReadonlySet<string>,
  read: ReadonlyMap<string, readonly MeshDiff[]>,
  dateOf: (instant: string) => string,
  today: string,
): LiveRow[] {
  const rows: LiveRow[] = [];
  let day = today;
  let later: string | undefined;
  for (let index = changes.length - 1; index >= 0; index -= 1) {
    const change = changes[index] as ChangeRow;
    if (!matches(change, filter)) continue;
    const gap = later === undefined ? 0 : Date.parse(later) - Date.parse(change.committedAt);
    const date = dateOf(change.committedAt);
    if (date !== day) rows.push({ type: "day", key: `day ${date} ${change.id}`, date });
    else if (gap >= GAP_MS) rows.push({ type: "gap", key: `gap ${change.id}`, milliseconds: gap });
    day = date;
    later = change.committedAt;
    rows.push({ type: "change", key: change.id, change });
    if (!isOpen.has(change.id)) continue;
    const diffs = change.diffs.length >= change.shardCount ? change.diffs : (read.get(change.id) ?? change.diffs);
    for (const diff of diffs) rows.push({ type: "shard", key: `${change.id} ${diff.revision}`, diff });
    const missing = change.shardCount - diffs.length;
    if (missing > 0) rows.push({ type: "note", key: `note ${change.id}`, note: read.has(change.id) ? "omitted" : "reading", count: missing });
  }
  return rows;
}
