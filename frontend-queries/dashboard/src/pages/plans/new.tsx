/** A plan before it is made: what draining a node, or a rebalance, would move. Nothing is changed by looking. */
import { describeError } from "@omnirelay/mesh-queries";
import type { RefusalLike } from "@omnirelay/mesh-queries";
import { DrainNode, PlanRebalance, PreviewDrain, PreviewPlan } from "@omnirelay/mesh-queries/trusted";
import { useState } from "react";
import { useLocation } from "wouter";

import { mesh, readOverview } from "../../api/live.js";
import { transport } from "../../api/client.js";
import { DeedDialog, Refused } from "../../components/deed.js";
import type { DeedChange } from "../../components/deed.js";
import { useStore } from "../../lib/external.js";
import { useQueryState } from "../../lib/query.js";
import { useRequest } from "../../lib/request.js";
import { useMay } from "../../lib/scopes.js";
import { amount } from "../../lib/time.js";
import { text } from "../../text.js";
import { InForce } from "./in-force.js";
import { Flows, Loads, Problems } from "./parts.js";

const words = text.plans;

export function NewPlan() {
  useStore(mesh);
  const may = useMay();
  const [, navigate] = useLocation();
  const [query, change] = useQueryState();
  const node = query.get("drain") ?? "";
  const namespace = query.get("ns") ?? "";
  const isDrain = query.has("drain") || query.get("what") === "drain";
  const [isOpen, setOpen] = useState(false);
  const [acceptBlockers, setAccept] = useState(false);
  const scope = { ...(isDrain ? { vacate: [node] } : {}), ...(namespace ? { namespaces: [namespace] } : {}) };
  const drain = useRequest(PreviewDrain, isDrain && node ? { nodeId: node } : null);
  const preview = useRequest(PreviewPlan, isDrain && !node ? null : { input: scope });
  const found = drain.data?.node ?? null;
  const blockers = drain.data?.drainPreflight?.blockers ?? [];
  const proposal = preview.data?.simulateRebalance ?? null;
  const moves = proposal?.moveCount ?? 0;
  /** The others of the moves give a shard another leader only. */
  const owned = proposal?.flows.reduce((sum, flow) => sum + flow.count, 0) ?? 0;
  const isLeaving = found?.status === "DRAINING" || found?.status === "DOWN" || found?.status === "REMOVED";

  const send = async (given: DeedChange): Promise<RefusalLike | null> => {
    const keyed = (step: string): DeedChange => ({ ...given, idempotencyKey: `${given.idempotencyKey}-${step}` });
    if (isDrain && found !== null && !isLeaving) {
      const input = { nodeId: node, expectedVersion: found.version, acceptBlockers, change: keyed("drain") };
      const { drainNode } = await transport.request(DrainNode, { input });
      if (drainNode.__typename === "DrainBlocked") return { __typename: "DrainBlocked", message: words.blockers(drainNode.preflight.blockers.length) };
      if (drainNode.__typename !== "NodeDrained") return drainNode;
      void readOverview();
    }
    if (moves === 0) {
      navigate(`/?node=${encodeURIComponent(node)}`);
      return null;
    }
    const { planRebalance } = await transport.request(PlanRebalance, { input: { ...scope, change: keyed("plan") }, details: false });
    if (planRebalance.__typename !== "PlanProposed") return planRebalance as RefusalLike;
    navigate(`/plans/${planRebalance.plan.id}`);
    return null;
  };

  const error = preview.error ?? drain.error;
  const percent = amount(proposal?.movedPercent ?? 0);
  const canMake = may("mesh.operate") && proposal !== null && (moves > 0 || (isDrain && found !== null && !isLeaving)) && (blockers.length === 0 || acceptBlockers);
  const deed = isDrain && !isLeaving ? words.drainDeed(node, moves) : words.planDeed(moves);
  return (
    <>
      <div className="head">
        <h1>{words.newTitle}</h1>
        {canMake && (
          <div className="actions plan-actions">
            <button type="button" className="button primary" onClick={() => setOpen(true)}>
              {deed}
            </button>
          </div>
        )}
      </div>
      <div className="filters plan-filters">
        <label>
          <span className="name">{words.what}</span>
          <select
            className="select"
            value={isDrain ? "drain" : ""}
            onChange={(event) => change({ what: event.target.value, drain: null, ns: null })}
          >
            <option value="">{words.whatRebalance}</option>
            <option value="drain">{words.whatDrain}</option>
          </select>
        </label>
        {isDrain ? (
          <label>
            <span className="name">{text.filters.node}</span>
            <select className="select" value={node} onChange={(event) => change({ drain: event.target.value, what: "drain" })}>
              <option value="" />
              {[...mesh.nodes.keys()].map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          </label>
        ) : (
          <label>
            <span className="name">{text.filters.namespace}</span>
            <select className="select" value={namespace} onChange={(event) => change({ ns: event.target.value })}>
              <option value="">{text.filters.all}</option>
              {[...mesh.namespaces.keys()].map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          </label>
        )}
      </div>
      {isDrain && !node && <p className="blank">{words.chooseNode}</p>}
      {isDrain && node && drain.data && found === null && <p className="blank">{words.noDrainNode(node)}</p>}
      {error && <Refused described={describeError(error, words.notApplied)} />}
      {!error && (!isDrain || node) && proposal === null && <p className="blank">{words.planning}</p>}
      {proposal && (
        <>
          <p className="lead plan-lead">
            {isDrain ? (
              <>
                {drain.data?.drainPreflight && `${words.drainLead(node, drain.data.drainPreflight.shardCount)} `}
                <strong>{words.drainMoves(owned, moves - owned)}</strong>
                {proposal.remainingMoves > 0 && ` ${words.drainRemaining(proposal.remainingMoves)}`}
              </>
            ) : (
              <strong>{words.rebalanceLead(moves, proposal.shardCount, percent)}</strong>
            )}
          </p>
          {blockers.length > 0 && (
            <div className="verdict blocked">
              <p>
                <span className="tag lost">{words.blocked.toUpperCase()}</span> <strong>{words.blockers(blockers.length)}.</strong>
              </p>
              <ul>
                {blockers.slice(0, 10).map((each) => (
                  <li key={`${each.namespace}/${each.shardId} ${each.code}`}>{each.message}</li>
                ))}
              </ul>
              <label className="check">
                <input type="checkbox" checked={acceptBlockers} onChange={(event) => setAccept(event.target.checked)} />
                {words.accept}
              </label>
            </div>
          )}
          <InForce proposal={proposal} isInvoluntary={isDrain && (found?.status === "DOWN" || found?.status === "REMOVED")} />
          <div className="review plan">
            <div>
              <Flows flows={proposal.flows} />
              <Problems title={words.leftAsIs} violations={proposal.violations} />
            </div>
            <div>
              <Loads loads={proposal.loads} />
            </div>
          </div>
        </>
      )}
      {isOpen && (
        <DeedDialog
          title={words.newTitle}
          deed={deed}
          verb={isDrain ? words.notDrained : text.shard.notPlanned}
          send={send}
          onDone={() => undefined}
          onClose={() => setOpen(false)}
        />
      )}
    </>
  );
}
