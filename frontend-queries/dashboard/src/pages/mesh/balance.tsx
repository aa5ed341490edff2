/** How much each node has beside its share by weight, as bars. */
import { useState } from "react";

import { mesh } from "../../api/live.js";
import { amount, count, ratioOf } from "../../lib/time.js";
import type { MeshNode, Totals } from "../../store/mesh.js";
import { text } from "../../text.js";

const words = text.mesh.balance;

/** A ratio this far from 1 is marked. */
const TOLERANCE = 0.1;

export interface BalanceRow {
  readonly node: MeshNode;
  readonly value: number;
  /** 0 for a node that may own nothing. */
  readonly share: number;
  readonly ratio: number;
}

/** By name. Shares are by weight among active nodes, of all that is owned. */
export function balanceOf(nodes: Iterable<MeshNode>, totals: Totals, numberOf: (id: string) => number, byLoad: boolean): BalanceRow[] {
  const all = [...nodes].sort((left, right) => left.nodeId.localeCompare(right.nodeId, "en", { numeric: true }));
  const weights = all.reduce((sum, { status, weight }) => sum + (status === "ACTIVE" ? weight : 0), 0);
  const total = byLoad ? totals.load : totals.shards;
  return all.map((node) => {
    const own = totals.nodes[numberOf(node.nodeId)];
    const value = own === undefined ? 0 : byLoad ? own.load : own.shards;
    const share = node.status === "ACTIVE" && weights > 0 ? (total * node.weight) / weights : 0;
    return { node, value, share, ratio: share > 0 ? value / share : 0 };
  });
}

export const markOf = ({ share, ratio }: BalanceRow): "above" | "below" | null =>
  share === 0 ? null : ratio > 1 + TOLERANCE ? "above" : ratio < 1 - TOLERANCE ? "below" : null;

export interface BalanceProps {
  readonly totals: Totals;
  /** Whether that is all: of a part of the shards there are no ratios. */
  readonly isListed: boolean;
  readonly byLoad: boolean;
  readonly node: string;
  onNode(id: string): void;
}

export function Balance({ totals, isListed, byLoad, node, onNode }: BalanceProps) {
  const [isFurthest, setFurthest] = useState(false);
  const rows = balanceOf(mesh.nodes.values(), totals, (id) => mesh.nodeNames.number(id), byLoad);
  const most = Math.max(1e-9, ...rows.map(({ value, share }) => Math.max(value, share)));
  const shown = isFurthest ? rows.toSorted((left, right) => distance(right) - distance(left)) : rows;
  return (
    <section className="balance" aria-labelledby="balance">
      <header>
        <h2 id="balance">{words.label}</h2>
        <button type="button" className="link" aria-pressed={isFurthest} onClick={() => setFurthest(!isFurthest)}>
          {isFurthest ? words.byName : words.furthest}
        </button>
      </header>
      <ul>
        {shown.map((row) => (
          <Row key={row.node.nodeId} row={row} isListed={isListed} most={most} byLoad={byLoad} isChosen={row.node.nodeId === node} onNode={onNode} />
        ))}
      </ul>
      <p className="quiet hint">{words.hint}</p>
    </section>
  );
}

interface RowProps {
  readonly row: BalanceRow;
  readonly isListed: boolean;
  readonly most: number;
  readonly byLoad: boolean;
  readonly isChosen: boolean;
  onNode(id: string): void;
}

function Row({ row, isListed, most, byLoad, isChosen, onNode }: RowProps) {
  const { node, value, share, ratio } = row;
  const mark = isListed ? markOf(row) : null;
  const shown = byLoad ? amount(value) : count(value);
  const title = !isListed ? words.listing : mark === null ? (share === 0 ? words.noShare : undefined) : words[mark];
  return (
    <li className={isChosen ? "chosen" : ""}>
      <button type="button" className="name cut" onClick={() => onNode(isChosen ? "" : node.nodeId)} aria-pressed={isChosen}>
        {node.nodeId}
      </button>
      <span className="value">{shown}</span>
      <span className="bar-track" aria-hidden="true">
        <span className={`bar-fill ${node.status === "ACTIVE" ? "" : node.status === "DOWN" ? "lost" : "leaving"}`} style={{ width: `${(100 * value) / most}%` }} />
        {share > 0 && <span className="bar-tick" style={{ left: `${(100 * share) / most}%` }} />}
      </span>
      <span className="ratio" title={title}>
        {isListed && share > 0 ? ratioOf(ratio) : "–"}
        <span className="mark" aria-hidden="true">
          {mark === "above" ? "▲" : mark === "below" ? "▼" : ""}
        </span>
        {title && <span className="sr">{title}</span>}
      </span>
    </li>
  );
}

const distance = ({ share, ratio }: BalanceRow): number => (share > 0 ? Math.abs(ratio - 1) : -1);
