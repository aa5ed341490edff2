/** One line about a shard: who owns it, since when, by whose decision. */
import { ShardWithChange } from "@omnirelay/mesh-queries/trusted";
import type { ShardWithChangeQuery } from "@omnirelay/mesh-queries/trusted";
import { useEffect, useState } from "react";
import { Link } from "wouter";

import { mesh } from "../../api/live.js";
import { transport } from "../../api/client.js";
import { useServerNow } from "../../lib/now.js";
import { shardPath } from "../../lib/query.js";
import { durationOf } from "../../lib/time.js";
import { text } from "../../text.js";
import { nameOf } from "./map.js";

const words = text.mesh.detail;
const REST_MS = 120;

type Owned = NonNullable<ShardWithChangeQuery["shard"]>;

/** `row` is -1 where there is none. */
export function Detail({ row }: { row: number }) {
  const now = useServerNow();
  const [found, setFound] = useState<{ row: number; revision: number; shard: Owned | null } | null>(null);
  const revision = row < 0 ? 0 : (mesh.revision[row] as number);
  const namespace = row < 0 ? "" : (mesh.namespaceNames.list[mesh.namespace[row] as number] as string);
  const shardId = row < 0 ? "" : (mesh.ids[row] as string);
  useEffect(() => {
    if (row < 0) return;
    const controller = new AbortController();
    const timer = setTimeout(() => {
      transport.request(ShardWithChange, { namespace, shardId }, controller.signal).then(
        ({ shard }) => setFound({ row, revision, shard }),
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
  const isOfIt = found?.row === row && found.revision === revision;
  const change = isOfIt ? found.shard?.ownerChange : undefined;
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
