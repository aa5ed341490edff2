/** Shards: one, where the address names it, or all of them to choose from. */
import { useParams } from "wouter";

import { ShardList } from "./list.js";
import { ShardView } from "./shard.js";

export default function ShardsPage() {
  const { namespace, shardId } = useParams<{ namespace?: string; shardId?: string }>();
  if (namespace === undefined || shardId === undefined) return <ShardList />;
  const [name, id] = [decodeURIComponent(namespace), decodeURIComponent(shardId)];
  return <ShardView key={`${name}/${id}`} namespace={name} shardId={id} />;
}
