/** The difference between two moments, and the mesh as it was, which is the mesh as it is and the difference to it. */
import { fromUnknown } from "@omnirelay/mesh-queries";
import type { MeshError } from "@omnirelay/mesh-queries";
import { DiffOwners } from "@omnirelay/mesh-queries/trusted";
import type { DiffOwnersQuery } from "@omnirelay/mesh-queries/trusted";
import { useEffect, useState } from "react";

import { mesh } from "../../api/live.js";
import { transport } from "../../api/client.js";
import { NONE } from "../../store/mesh.js";
import type { Moment } from "./moments.js";

export type Difference = DiffOwnersQuery["shardDiff"]["nodes"][number];

export interface Differences {
  readonly all: readonly Difference[];
  readonly isComplete: boolean;
  /** Whether there are more than are read. */
  readonly isCut: boolean;
  readonly error: MeshError | null;
}

const PAGE = 500;
const MOST = 20_000;
const NOTHING: Differences = { all: [], isComplete: false, isCut: false, error: null };

/** Null moments read nothing. */
export function useDifferences(from: Moment | null, to: Moment | null, namespace: string): Differences {
  const key = from === null || to === null ? "" : JSON.stringify([from, to, namespace]);
  const [found, setFound] = useState<{ key: string; value: Differences }>({ key: "", value: NOTHING });
  useEffect(() => {
    if (from === null || to === null) return;
    const controller = new AbortController();
    const bounds = {
      ...(from.type === "revision" ? { from: from.revision } : { fromTime: from.time }),
      ...(to.type === "revision" ? { to: to.revision } : { toTime: to.time }),
      ...(namespace ? { namespace } : {}),
    };
    const all: Difference[] = [];
    void (async () => {
      for (let after: string | null = null; ; ) {
        const { shardDiff }: DiffOwnersQuery = await transport.request(DiffOwners, { ...bounds, first: PAGE, after }, controller.signal);
        if (controller.signal.aborted) return;
        all.push(...shardDiff.nodes);
        const isCut = shardDiff.pageInfo.hasNextPage && all.length >= MOST;
        const isComplete = !shardDiff.pageInfo.hasNextPage || isCut;
        setFound({ key, value: { all: [...all], isComplete, isCut, error: null } });
        if (isComplete) return;
        after = shardDiff.pageInfo.endCursor ?? null;
      }
    })().catch((cause: unknown) => {
      if (!controller.signal.aborted) setFound({ key, value: { ...NOTHING, error: fromUnknown(cause) } });
    });
    return () => controller.abort();
  }, [key]); // eslint-disable-line -- the key is all of them
  return found.key === key && key ? found.value : NOTHING;
}

/** Who owns what, held still: what is looked at does not change with the mesh. */
export interface Snapshot {
  readonly revision: number;
  readonly owners: ReadonlyMap<string, string>;
}

export function snapshotOf(namespace: string, shown: string): Snapshot {
  const owners = new Map<string, string>();
  let revision = Number(shown) || 0;
  for (let row = 0; row < mesh.rows; row += 1) {
    const owner = mesh.owner[row] as number;
    if (owner === NONE) continue;
    const name = mesh.namespaceNames.list[mesh.namespace[row] as number] as string;
    if (namespace && name !== namespace) continue;
    owners.set(`${name}/${mesh.ids[row]}`, mesh.nodeNames.list[owner] as string);
    revision = Math.max(revision, mesh.revision[row] as number);
  }
  return { revision, owners };
}

/**
 * By node, the shards it had, each with whether it was elsewhere, or nowhere, at the other moment; in the order of the
 * snapshot, which is that of names but for what came since: sorting 100,000 names takes half a second.
 */
export function asItWas(snapshot: Snapshot, toNow: readonly Difference[], toOther: readonly Difference[]): Map<string, boolean[]> {
  const owners = new Map(snapshot.owners);
  for (const { namespace, shardId, previous } of toNow) {
    if (previous === null) owners.delete(`${namespace}/${shardId}`);
    else owners.set(`${namespace}/${shardId}`, previous.ownerNodeId);
  }
  const gone = new Set<string>();
  for (const { namespace, shardId, previous, current } of toOther) {
    if (previous && previous.ownerNodeId !== current?.ownerNodeId) gone.add(`${namespace}/${shardId}`);
  }
  const nodes = new Map<string, boolean[]>();
  for (const [name, node] of owners) {
    const cells = nodes.get(node);
    if (cells === undefined) nodes.set(node, [gone.has(name)]);
    else cells.push(gone.has(name));
  }
  return nodes;
}
