/** What a person should know before anything else: what leaves, what is gone, what is frozen. */
import { Link } from "wouter";

import { connection, mesh, viewer } from "../../api/live.js";
import { useSelected } from "../../lib/external.js";
import { useServerNow } from "../../lib/now.js";
import { useZone } from "../../lib/settings.js";
import { momentOf } from "../../lib/time.js";
import type { Totals } from "../../store/mesh.js";
import { text } from "../../text.js";

const words = text.mesh.attention;

interface Item {
  readonly mark: string;
  readonly state: "leaving" | "lost" | "held" | "";
  readonly label: string;
  readonly node?: string;
  readonly to?: string;
}

export function Attention({ totals, onNode }: { totals: Totals; onNode(id: string): void }) {
  const now = useServerNow();
  const zone = useZone();
  const isListed = useSelected(connection, (current) => current.isListed);
  const isRead = useSelected(viewer, (asking) => asking !== null);
  const nodes = [...mesh.nodes.values()];
  const owned = (id: string): number => totals.nodes[mesh.nodeNames.find(id) ?? -1]?.shards ?? 0;
  const of = (status: string) => nodes.filter((node) => node.status === status);
  const items: Item[] = [];
  const draining = of("DRAINING");
  const down = of("DOWN");
  const cordoned = of("CORDONED");
  const sum = (list: typeof nodes): number => list.reduce((total, { nodeId }) => total + owned(nodeId), 0);
  const first = (list: typeof nodes): string => (list.length === 1 ? (list[0]?.nodeId ?? "") : "");
  if (down.length > 0) items.push({ mark: "×", state: "lost", label: words.down(down.length, sum(down)), node: first(down) });
  const unowned = mesh.nodeNames.list.reduce((total, id) => total + (mesh.nodes.has(id) ? 0 : owned(id)), 0);
  // Shards may be read before nodes are, and a mesh may have none registered: neither says that a shard is orphaned.
  if (unowned > 0 && nodes.length > 0) items.push({ mark: "×", state: "lost", label: words.unowned(unowned) });
  if (draining.length > 0) {
    const left = sum(draining);
    items.push({ mark: "╱", state: "leaving", label: left > 0 ? words.draining(draining.length, left) : words.drained(draining.length), node: first(draining) });
  }
  if (cordoned.length > 0) items.push({ mark: "╱", state: "leaving", label: words.cordoned(cordoned.length), node: first(cordoned) });
  const later: Item[] = [];
  for (const [name, freezes] of mesh.freezes) {
    const freeze = freezes.find(({ begins, ends }) => Date.parse(begins) <= now && now < Date.parse(ends));
    const next = freezes.find(({ begins }) => Date.parse(begins) > now);
    const to = `/governance?ns=${encodeURIComponent(name)}`;
    if (freeze) items.push({ mark: "❄", state: "held", label: words.frozen(name, momentOf(freeze.ends, zone, now)), to });
    else if (next) later.push({ mark: "❄", state: "", label: words.freezes(name, momentOf(next.begins, zone, now)), to });
  }
  items.push(...later);
  const idle = nodes.filter(({ nodeId, status }) => status === "ACTIVE" && owned(nodeId) === 0);
  if (idle.length > 0 && totals.shards > 0 && isListed) items.push({ mark: "○", state: "", label: words.idle(idle.length), node: first(idle) });
  if (totals.pinned > 0) items.push({ mark: "•", state: "", label: words.pinned(totals.pinned) });
  return (
    <section className="attention" aria-label={words.label}>
      {items.length === 0 ? (
        <p className="quiet">{isRead ? words.calm : text.reading}</p>
      ) : (
        <ul>
          {items.map(({ mark, state, label, node, to }) => (
            <li key={label} className={state}>
              <span className="mark" aria-hidden="true">
                {mark}
              </span>
              {to ? <Link href={to}>{label}</Link> : node ? <NodeLink label={label} onClick={() => onNode(node)} /> : <span>{label}</span>}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function NodeLink({ label, onClick }: { label: string; onClick(): void }) {
  return (
    <button type="button" className="link" onClick={onClick}>
      {label}
    </button>
  );
}
