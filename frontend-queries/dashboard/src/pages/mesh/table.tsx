/** The same as the map and the balance, as a table. */
import { mesh } from "../../api/live.js";
import { amount, count, ratioOf } from "../../lib/time.js";
import type { Totals } from "../../store/mesh.js";
import { text } from "../../text.js";
import { balanceOf } from "./balance.js";
import { NodeTag } from "./map.js";

const words = text.mesh.table;

export function MeshTable({ totals, isListed, byLoad, onNode }: { totals: Totals; isListed: boolean; byLoad: boolean; onNode(id: string): void }) {
  const rows = balanceOf(mesh.nodes.values(), totals, (id) => mesh.nodeNames.number(id), byLoad);
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={words.caption}>
      <table className="table">
        <caption className="sr">{words.caption}</caption>
        <thead>
          <tr>
            {words.columns.map((name, index) => (
              <th key={name} scope="col" className={index > 3 ? "number" : ""}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ node, share, ratio }) => {
            const own = totals.nodes[mesh.nodeNames.number(node.nodeId)];
            return (
              <tr key={node.nodeId}>
                <td>
                  <button type="button" className="link" onClick={() => onNode(node.nodeId)}>
                    {node.nodeId}
                  </button>
                </td>
                <td>{node.region ?? text.mesh.noRegion}</td>
                <td>{node.zone ?? text.mesh.noZone}</td>
                <td>{node.status === "ACTIVE" ? text.statuses.ACTIVE : <NodeTag node={node} />}</td>
                <td className="number">{count(node.weight)}</td>
                <td className="number">{count(own?.shards ?? 0)}</td>
                <td className="number">{amount(own?.load ?? 0)}</td>
                <td className="number">{count(own?.pinned ?? 0)}</td>
                <td className="number">{isListed && share > 0 ? ratioOf(ratio) : "–"}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
