/** Which node owns what: attention first, then the map and the balance, then one line about a shard. */
import { useState } from "react";
import { useLocation } from "wouter";

import { connection, mesh, viewer } from "../../api/live.js";
import { useSelected, useStore } from "../../lib/external.js";
import { shardPath, useQueryState } from "../../lib/query.js";
import { totalsOf } from "../../store/mesh.js";
import { text } from "../../text.js";
import { Attention } from "./attention.js";
import { Balance } from "./balance.js";
import { Detail } from "./detail.js";
import { Legend } from "./legend.js";
import { MeshMap, nameOf, rowNamed } from "./map.js";
import "./mesh.css";
import { NodeActions } from "./node.js";
import { MeshTable } from "./table.js";

const words = text.mesh;

export default function MeshPage() {
  useStore(mesh);
  const [query, change] = useQueryState();
  const [, navigate] = useLocation();
  const phase = useSelected(connection, (current) => current.phase);
  const isListed = useSelected(connection, (current) => current.isListed);
  const [pointed, setPointed] = useState(-1);
  const [tidied, setTidied] = useState(0);
  const namespace = query.get("ns") ?? "";
  const node = query.get("node") ?? "";
  const byLoad = query.get("by") === "load";
  const byZone = query.get("group") === "zone";
  const chosen = query.get("sel") ?? "";
  const isTable = query.get("as") === "table";
  const only = namespace ? (mesh.namespaceNames.find(namespace) ?? -1) : undefined;
  const totals = totalsOf(mesh, only);
  const onNode = (id: string): void => change({ node: id, sel: null });
  const onOpen = (row: number): void => navigate(shardPath(mesh.namespaceNames.list[mesh.namespace[row] as number] as string, mesh.ids[row] as string));
  const chosenNode = mesh.nodes.get(node);
  // Before nodes are read each shard would look orphaned.
  const isRead = useSelected(viewer, (asking) => asking !== null);
  const isEmpty = mesh.nodes.size === 0 && mesh.size === 0 && phase === "live" && isRead;
  return (
    <div className={`mesh ${node ? "one" : ""} ${isTable ? "table" : ""}`}>
      <h1 className="sr">{words.heading}</h1>
      <Attention totals={totals} onNode={onNode} />
      <div className="filters">
        <label>
          <span className="name">{text.filters.namespace}</span>
          <select className="select" value={namespace} onChange={(event) => change({ ns: event.target.value, sel: null })}>
            <option value="">{words.allNamespaces}</option>
            {[...mesh.namespaces.keys()].map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <fieldset>
          <legend className="name">{words.by}</legend>
          <label className="check">
            <input type="radio" name="by" checked={!byLoad} onChange={() => change({ by: null })} />
            {words.byShards}
          </label>
          <label className="check">
            <input type="radio" name="by" checked={byLoad} onChange={() => change({ by: "load" })} />
            {words.byLoad}
          </label>
        </fieldset>
        <label>
          <span className="name">{words.group}</span>
          <select className="select" value={byZone ? "zone" : "region"} onChange={(event) => change({ group: event.target.value === "zone" ? "zone" : null })}>
            <option value="region">{words.byRegion}</option>
            <option value="zone">{words.byZone}</option>
          </select>
        </label>
        {node && (
          <button type="button" className="button" onClick={() => onNode("")}>
            {node} <span aria-hidden="true">×</span>
            <span className="sr">{words.allNodes}</span>
          </button>
        )}
        {chosenNode && <NodeActions key={node} node={chosenNode} onRemoved={() => onNode("")} />}
        <span className="grow" />
        <span className="quiet">{words.summary(totals.shards, mesh.nodes.size)}</span>
        <button type="button" className="button plain" title={words.tidyTitle} onClick={() => setTidied(tidied + 1)}>
          {words.tidy}
        </button>
        <button type="button" className="button" aria-pressed={isTable} onClick={() => change({ as: isTable ? null : "table" })}>
          {words.asTable}
        </button>
      </div>
      {isEmpty ? (
        <p className="blank">{text.empty.nodes}</p>
      ) : !isRead ? (
        <p className="blank">{text.reading}</p>
      ) : (
        <div className="mesh-body">
          <div className="mesh-map">
            {isTable ? (
              <MeshTable totals={totals} isListed={isListed} byLoad={byLoad} onNode={onNode} />
            ) : (
              <MeshMap
                totals={totals}
                namespace={namespace}
                node={node}
                byZone={byZone}
                byLoad={byLoad}
                chosen={chosen}
                tidied={tidied}
                onPoint={setPointed}
                onChoose={(row) => change({ sel: row < 0 ? null : nameOf(row) })}
                onOpen={onOpen}
                onNode={onNode}
              />
            )}
          </div>
          <div className="mesh-side">
            <Balance totals={totals} isListed={isListed} byLoad={byLoad} node={node} onNode={onNode} />
            <Legend />
          </div>
        </div>
      )}
      {!isEmpty && isRead && (
        <div className="mesh-foot">
          <Detail row={pointed >= 0 ? pointed : rowNamed(chosen)} />
        </div>
      )}
    </div>
  );
}
