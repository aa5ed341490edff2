/** One line about a shard: who owns it, since when, by whose decision. */
import { ShardWithHistory } from "@omnirelay/mesh-queries/trusted";
import type { ShardWithHistoryQuery } from "@omnirelay/mesh-queries/trusted";
import { useEffect, useState } from "react";
import { Link } from "wouter";

import { mesh } from "../../api/live.js";
import { transport } from "../../api/client.js";
import { useNow } from "../../lib/now.js";
import { shardPath } from "../../lib/query.js";
import { durationOf } from "../../lib/time.js";
import { text } from "../../text.js";
import { nameOf } from "./map.js";

const words = text.mesh.detail;
const REST_MS = 120;

type Owned = ShardWithHistoryQuery["shardHistory"]["nodes"][number]["change"];

/** The change that gave a shard its owner, as far as the newest twenty rows of its history have it. */
export async function ownerChange(namespace: string, shardId: string, signal?: AbortSignal): Promise<Owned | null> {
  const { shardHistory } = await transport.request(ShardWithHistory, { namespace, shardId, rows: 20 }, signal);
  const found = shardHistory.nodes.find(({ kind, changedFields }) => kind === "CREATED" || changedFields.includes("ownerNodeId"));
  return found?.change ?? null;
}

/** `row` is -1 where there is none. */
export function Detail({ row }: { row: number }) {
  const now = useNow();
  const [found, setFound] = useState<{ row: number; revision: number; change: Owned | null } | null>(null);
  const revision = row < 0 ? 0 : (mesh.revision[row] as number);
  const namespace = row < 0 ? "" : (mesh.namespaceNames.list[mesh.namespace[row] as number] as string);
  const shardId = row < 0 ? "" : (mesh.ids[row] as string);
  useEffect(() => {
    if (row < 0) return;
    const controller = new AbortController();
    const timer = setTimeout(() => {
      ownerChange(namespace, shardId, controller.signal).then(
        (change) => setFound({ row, revision, change }),
        () => undefined,
      );
    }, REST_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [row, revision, namespace, shardId]);
  if (row < 0) {
    return <p className="detail quiet">{text.mesh.hover}</p>;
  }
  const node = mesh.nodeNames.list[mesh.owner[row] as number] ?? "";
  const change = found?.row === row ? found.change : undefined;
  return (
    <p className="detail">
      <span className="cut">
        <Link href={shardPath(namespace, shardId)} className="strong">
          {nameOf(row)}
        </Link>
        {change ? words.on(node, durationOf(now - Date.parse(change.committedAt))) : words.onOnly(node)}
        {change && `: ${words.why(change.actor, change.changeTicket, change.reason)}`}
        {change === null && `. ${words.unknown}`}
      </span>
      <Link href={shardPath(namespace, shardId)} className="button">
        {text.open}
      </Link>
    </p>
  );
}
