/** All shards in the order of their names, of which those in view are in the document. */
import { useMemo } from "react";
import { Link } from "wouter";

import { mesh } from "../../api/live.js";
import { VirtualList } from "../../components/virtual-list.js";
import { useStore } from "../../lib/external.js";
import { shardPath, useQueryState } from "../../lib/query.js";
import { amount } from "../../lib/time.js";
import { NONE, STATUSES } from "../../store/mesh.js";
import { text } from "../../text.js";
import "../../components/review.css";
import "./shards.css";

const words = text.shard;
const ROW_PX = 36;

export function ShardList() {
  const version = useStore(mesh);
  const [query, change] = useQueryState();
  const namespace = query.get("ns") ?? "";
  const node = query.get("node") ?? "";
  const wanted = (query.get("q") ?? "").trim().toLowerCase();
  const rows = useMemo(() => rowsOf(namespace, node, wanted), [namespace, node, wanted, version]);
  const name = (row: number): string => `${mesh.namespaceNames.list[mesh.namespace[row] as number]}/${mesh.ids[row]}`;
  return (
    <div className="shard-list fills">
      <h1 className="sr">{words.list}</h1>
      <div className="filters">
        <label>
          <span className="name">{words.search}</span>
          <input
            className="input"
            type="search"
            placeholder={words.searchPlaceholder}
            value={query.get("q") ?? ""}
            onChange={(event) => change({ q: event.target.value })}
          />
        </label>
        <label>
          <span className="name">{text.filters.namespace}</span>
          <select className="select" value={namespace} onChange={(event) => change({ ns: event.target.value })}>
            <option value="">{text.filters.all}</option>
            {[...mesh.namespaces.keys()].map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
        <label>
          <span className="name">{text.filters.node}</span>
          <select className="select" value={node} onChange={(event) => change({ node: event.target.value })}>
            <option value="">{text.filters.all}</option>
            {[...mesh.nodes.keys()].map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
        <span className="grow" />
        <span className="quiet">{words.shown(rows.length, mesh.size)}</span>
      </div>
      {rows.length === 0 ? (
        <div className="blank">
          <p>{mesh.size === 0 ? text.empty.shards : text.empty.filtered}</p>
          {(namespace || node || wanted) && (
            <button type="button" className="button" onClick={() => change({ q: null, ns: null, node: null })}>
              {text.filters.clear}
            </button>
          )}
        </div>
      ) : (
        <div className="panel shard-panel">
          <div className="shard-row shard-heads" aria-hidden="true">
            <span>{words.columns.name}</span>
            <span>{words.columns.owner}</span>
            <span>{words.columns.status}</span>
            <span className="load">{words.columns.load}</span>
            <span className="revision">{words.columns.revision}</span>
          </div>
          <VirtualList
            className="shard-rows"
            count={rows.length}
            rowHeight={ROW_PX}
            label={words.list}
            role="region"
            keyOf={(index) => name(rows[index] as number)}
            row={(index) => {
              const row = rows[index] as number;
              const status = STATUSES[mesh.status[row] as number] ?? "ACTIVE";
              return (
                <div className="shard-row">
                  <Link className="cut" href={shardPath(mesh.namespaceNames.list[mesh.namespace[row] as number] as string, mesh.ids[row] as string)}>
                    {name(row)}
                  </Link>
                  <span className="cut">{mesh.nodeNames.list[mesh.owner[row] as number]}</span>
                  <span className="cut">
                    {status === "ACTIVE" ? <span className="quiet">{text.statuses.ACTIVE}</span> : <StatusTag status={status} />}
                    {mesh.pinned[row] ? <span className="pin"> {words.pinned}</span> : null}
                  </span>
                  <span className="load quiet">{amount(mesh.load[row] as number)}</span>
                  <span className="revision quiet">{text.connection.revision(String(mesh.revision[row]))}</span>
                </div>
              );
            }}
          />
        </div>
      )}
    </div>
  );
}

export function StatusTag({ status }: { status: (typeof STATUSES)[number] }) {
  return <span className={`tag ${status === "DRAINING" ? "leaving" : status === "ACTIVE" ? "" : "held"}`}>{text.statuses[status].toUpperCase()}</span>;
}

function rowsOf(namespace: string, node: string, wanted: string): number[] {
  const names = mesh.namespaceNames.list;
  const rows: number[] = [];
  for (let row = 0; row < mesh.rows; row += 1) {
    const owner = mesh.owner[row] as number;
    if (owner === NONE) continue;
    if (namespace && names[mesh.namespace[row] as number] !== namespace) continue;
    if (node && mesh.nodeNames.list[owner] !== node) continue;
    if (wanted && !`${names[mesh.namespace[row] as number]}/${mesh.ids[row]}`.toLowerCase().includes(wanted)) continue;
    rows.push(row);
  }
  const order = (left: number, right: number): number => {
    const [a, b] = [names[mesh.namespace[left] as number] as string, names[mesh.namespace[right] as number] as string];
    if (a !== b) return a < b ? -1 : 1;
    return (mesh.ids[left] as string) < (mesh.ids[right] as string) ? -1 : 1;
  };
  return rows.sort(order);
}
