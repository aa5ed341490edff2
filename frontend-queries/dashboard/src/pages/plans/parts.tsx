/** What a plan does, as it is shown of a plan and before there is one: flows, loads of nodes, what it does not put right. */
import type { PreviewPlanQuery } from "@omnirelay/mesh-queries/trusted";
import { useState } from "react";

import { count } from "../../lib/time.js";
import { text } from "../../text.js";

const words = text.plans;
const FIRST_FLOWS = 12;

type Proposal = PreviewPlanQuery["simulateRebalance"];

export function Flows(props: { flows: Proposal["flows"]; from?: string; to?: string; onChoose?(from: string, to: string): void }) {
  const { flows, from = "", to = "", onChoose } = props;
  const [isAll, setAll] = useState(false);
  const most = Math.max(1, ...flows.map((flow) => flow.count));
  const shown = isAll ? flows : flows.slice(0, FIRST_FLOWS);
  if (flows.length === 0) return null;
  return (
    <section aria-labelledby="flows">
      <h2 id="flows">{words.flows}</h2>
      <ul className="flows">
        {shown.map((flow) => {
          const isChosen = flow.fromNodeId === from && flow.toNodeId === to;
          const content = (
            <>
              <span className="cut">{flow.fromNodeId}</span>
              <span className="arrow" aria-hidden="true">
                →
              </span>
              <span className="cut">{flow.toNodeId}</span>
              <span className="flow-bar" aria-hidden="true">
                <span style={{ width: `${(100 * flow.count) / most}%` }} />
              </span>
              <span className="right">{count(flow.count)}</span>
            </>
          );
          return (
            <li key={`${flow.fromNodeId} ${flow.toNodeId}`}>
              {onChoose ? (
                <button
                  type="button"
                  className="flow-row"
                  aria-pressed={isChosen}
                  onClick={() => (isChosen ? onChoose("", "") : onChoose(flow.fromNodeId, flow.toNodeId))}
                >
                  {content}
                </button>
              ) : (
                <span className="flow-row">{content}</span>
              )}
            </li>
          );
        })}
      </ul>
      {shown.length < flows.length && (
        <button type="button" className="button plain more" onClick={() => setAll(true)}>
          {words.allFlows(flows.length - shown.length)}
        </button>
      )}
    </section>
  );
}

/** Shards of each node before, at most between waves, and after. */
export function Loads({ loads }: { loads: Proposal["loads"] }) {
  const heads = words.loadColumns;
  const most = Math.max(1, ...loads.map(({ shardsBefore, shardsAfter, shardsPeak }) => Math.max(shardsBefore, shardsAfter, shardsPeak)));
  const part = (value: number): string => `${(100 * value) / most}%`;
  return (
    <section aria-labelledby="loads">
      <h2 id="loads">{words.loads}</h2>
      <table className="table loads">
        <thead>
          <tr>
            <th scope="col">{heads.node}</th>
            <th scope="col" className="right">
              {heads.before}
            </th>
            <th scope="col" className="right">
              {heads.peak}
            </th>
            <th scope="col" className="right">
              {heads.after}
            </th>
            <th scope="col" className="bars">
              <span className="sr">{heads.change}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {loads.map(({ nodeId, shardsBefore: before, shardsAfter: after, shardsPeak: peak }) => (
              <tr key={nodeId}>
                <td className="wrap-anywhere">{nodeId}</td>
                <td className="right">{count(before)}</td>
                <td className="right">{count(peak)}</td>
                <td className="right strong">{count(after)}</td>
                <td className="bars">
                  <span className="load-bar" role="img" aria-label={words.loadLabel(before, after)}>
                    <span className="kept" style={{ width: part(Math.min(before, after)) }} />
                    {after > before && <span className="gained" style={{ left: part(before), width: part(after - before) }} />}
                    {after < before && <span className="given" style={{ left: part(after), width: part(before - after) }} />}
                    {peak > Math.max(before, after) && <span className="peak" style={{ left: part(peak) }} />}
                  </span>
                </td>
              </tr>
          ))}
        </tbody>
      </table>
      <p className="quiet hint">{words.peakHint}</p>
    </section>
  );
}

export function Problems({ title, violations }: { title: string; violations: Proposal["violations"] }) {
  if (violations.length === 0) return null;
  return (
    <section aria-labelledby="problems">
      <h2 id="problems">{title}</h2>
      <ul className="problems">
        {violations.slice(0, 50).map((each) => (
          <li key={`${each.code} ${each.namespace} ${each.shardId} ${each.nodeId}`}>
            <span className="tag leaving">{each.code.toLowerCase().replaceAll("_", " ")}</span> {each.message}
          </li>
        ))}
      </ul>
      {violations.length > 50 && <p className="quiet">{text.find.more(violations.length - 50)}</p>}
    </section>
  );
}
