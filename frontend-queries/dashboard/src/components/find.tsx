/** Find by a part of a name, in what the page holds: shards, nodes, namespaces, pages; and plans by how their ids begin. */
import { PlanIds } from "@omnirelay/mesh-queries/trusted";
import type { PlanIdsQuery } from "@omnirelay/mesh-queries/trusted";
import { useEffect, useId, useMemo, useState } from "react";

import { transport } from "../api/client.js";
import { connection, mesh } from "../api/live.js";
import { useStore, useValue } from "../lib/external.js";
import { NONE } from "../store/mesh.js";
import { text } from "../text.js";
import { Dialog } from "./dialog.js";

interface Found {
  readonly kind: keyof typeof text.find.kinds;
  readonly name: string;
  readonly more: string;
  readonly to: string;
}

const MOST = 50;
/** Of these, the newest, one is found by the beginning of its id; of older ones by the whole of it. */
const PLANS = 500;
const PLAN_ID = /^[0-9a-f]{4,32}$/;

type Plan = PlanIdsQuery["rebalancePlans"]["nodes"][number];

/** Names that begin with the query before those that contain it; at most 50, and how many more there are. */
function search(query: string, plans: readonly Plan[]): { found: Found[]; more: number } {
  const wanted = query.trim().toLowerCase();
  if (!wanted) return { found: [], more: 0 };
  const begins: Found[] = [];
  const contains: Found[] = [];
  const add = (name: string, found: Omit<Found, "name">): void => {
    const at = name.toLowerCase().indexOf(wanted);
    if (at >= 0) (at === 0 || name[at - 1] === "/" ? begins : contains).push({ name, ...found });
  };
  for (const [page, name] of Object.entries(text.pages)) add(name, { kind: "page", more: "", to: page === "mesh" ? "/" : `/${page}` });
  for (const node of mesh.nodes.values()) {
    add(node.nodeId, { kind: "node", more: text.statuses[node.status], to: `/?node=${encodeURIComponent(node.nodeId)}` });
  }
  for (const { name } of mesh.namespaces.values()) add(name, { kind: "namespace", more: "", to: `/?ns=${encodeURIComponent(name)}` });
  const known = plans.filter(({ id }) => PLAN_ID.test(wanted) && id.startsWith(wanted));
  for (const { id, status, created } of known) {
    begins.push({ kind: "plan", name: id, more: text.find.plan(text.plans.statuses[status], created.actor), to: `/plans/${id}` });
  }
  if (wanted.length === 32 && PLAN_ID.test(wanted) && known.length === 0) begins.push({ kind: "plan", name: wanted, more: "", to: `/plans/${wanted}` });
  for (let row = 0; row < mesh.rows; row += 1) {
    if (mesh.owner[row] === NONE) continue;
    const namespace = mesh.namespaceNames.list[mesh.namespace[row] as number] as string;
    const id = mesh.ids[row] as string;
    if (!id.toLowerCase().includes(wanted) && !`${namespace}/${id}`.toLowerCase().includes(wanted)) continue;
    add(`${namespace}/${id}`, {
      kind: "shard",
      more: text.find.on(mesh.nodeNames.list[mesh.owner[row] as number] ?? ""),
      to: `/shards/${encodeURIComponent(namespace)}/${encodeURIComponent(id)}`,
    });
  }
  const all = [...begins, ...contains];
  return { found: all.slice(0, MOST), more: Math.max(0, all.length - MOST) };
}

/** Null before they are read. They are not before something is typed that a plan's id may begin with. */
function usePlans(isWanted: boolean): readonly Plan[] | null {
  const [plans, setPlans] = useState<readonly Plan[] | null>(null);
  useEffect(() => {
    if (!isWanted || plans !== null) return;
    const controller = new AbortController();
    transport.request(PlanIds, { first: PLANS }, controller.signal).then(
      ({ rebalancePlans }) => setPlans(rebalancePlans.nodes),
      () => {
        if (!controller.signal.aborted) setPlans([]); // what else there is is found all the same
      },
    );
    return () => controller.abort();
  }, [isWanted, plans]);
  return plans;
}

export function FindDialog({ onClose, onGo }: { onClose(): void; onGo(to: string): void }) {
  const version = useStore(mesh);
  const [query, setQuery] = useState("");
  const [at, setAt] = useState(0);
  const { isListed, listed, expected } = useValue(connection);
  const isListing = !isListed;
  /** Enter was pressed before there was anything to go to: the first that is listed is gone to. */
  const [isWaiting, setWaiting] = useState(false);
  const id = useId();
  const mayBePlan = PLAN_ID.test(query.trim().toLowerCase());
  const plans = usePlans(mayBePlan);
  const { found, more } = useMemo(() => search(query, plans ?? []), [query, plans, version]); // eslint-disable-line
  const chosen = Math.min(at, found.length - 1);
  const first = found[0];
  useEffect(() => {
    if (isWaiting && first !== undefined) onGo(first.to);
    else if (!isListing) setWaiting(false);
  }, [isWaiting, first, isListing]); // eslint-disable-line
  return (
    <Dialog title={text.find.title} onClose={onClose}>
      <input
        className="input"
        type="text"
        autoComplete="off"
        spellCheck={false}
        role="combobox"
        aria-expanded={found.length > 0}
        aria-controls={id}
        aria-activedescendant={found.length > 0 ? `${id}-${chosen}` : undefined}
        aria-label={text.find.placeholder}
        placeholder={text.find.placeholder}
        value={query}
        onChange={(event) => {
          setQuery(event.target.value);
          setAt(0);
          setWaiting(false);
        }}
        onKeyDown={(event) => {
          const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
          if (step !== 0 && found.length > 0) {
            event.preventDefault();
            const next = (chosen + step + found.length) % found.length;
            setAt(next);
            document.getElementById(`${id}-${next}`)?.scrollIntoView({ block: "nearest" });
          } else if (event.key === "Enter" && found[chosen]) {
            event.preventDefault();
            onGo(found[chosen].to);
          } else if (event.key === "Enter" && isListing && query.trim()) {
            event.preventDefault();
            setWaiting(true);
          }
        }}
      />
      {found.length > 0 ? (
        <ul className="results" role="listbox" id={id} aria-label={text.find.label} tabIndex={-1}>
          {found.map((each, index) => (
            <li
              key={`${each.kind} ${each.name}`}
              id={`${id}-${index}`}
              role="option"
              aria-selected={index === chosen}
              onPointerMove={() => setAt(index)}
              onClick={() => onGo(each.to)}
            >
              <span className="cut">{each.name}</span>
              <span className="quiet cut">{[text.find.kinds[each.kind], each.more].filter(Boolean).join(" ")}</span>
            </li>
          ))}
        </ul>
      ) : (
        <p className="quiet" role="status">
          {!query.trim()
            ? text.find.hint
            : isListing
              ? text.find.listing(text.connection.listing(listed, expected))
              : mayBePlan && plans === null
                ? text.reading
                : text.find.nothing(query.trim())}
        </p>
      )}
      {more > 0 && <p className="quiet">{text.find.more(more)}</p>}
    </Dialog>
  );
}
