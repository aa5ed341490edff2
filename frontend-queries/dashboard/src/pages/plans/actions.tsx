/** What can be done with a plan as it is, and only what the token may do. */
import { describeError, describeRefusal, fromUnknown } from "@omnirelay/mesh-queries";
import type { Description, MeshError, RefusalLike } from "@omnirelay/mesh-queries";
import { ApplyPlan, ApprovePlan, RejectPlan, RollbackChange, StopPlan } from "@omnirelay/mesh-queries/trusted";
import { useEffect, useRef, useState } from "react";
import { useLocation } from "wouter";

import { viewer } from "../../api/live.js";
import { transport } from "../../api/client.js";
import { DeedDialog, Refused } from "../../components/deed.js";
import type { DeedChange } from "../../components/deed.js";
import { useValue } from "../../lib/external.js";
import { useMay } from "../../lib/scopes.js";
import { text } from "../../text.js";
import type { ReviewedPlan } from "./plan.js";

const words = text.plans;

export interface PlanActionsProps {
  readonly plan: ReviewedPlan;
  /** How many moves the next wave has; 0 while that is not known. */
  readonly next: number;
  /** Why it is not known. */
  readonly unread: MeshError | null;
  readonly block: "none" | "forcible" | "blocked";
  readonly maxMoves: number | null;
  onActed(): void;
}

export function PlanActions({ plan, next, unread, block, maxMoves, onActed }: PlanActionsProps) {
  const may = useMay();
  const asking = useValue(viewer);
  const [open, setOpen] = useState<"approve" | "reject" | "apply" | "force" | "stop" | null>(null);
  const [goesOn, setGoesOn] = useState(false);
  /** The change that waves are made with, one after another, while this page is open. */
  const [going, setGoing] = useState<DeedChange | null>(null);
  /** Why the waves did not go on. */
  const [ended, setEnded] = useState<Description | null>(null);
  const { id, status, movesMade, moveCount, created } = plan;
  const left = moveCount - movesMade;
  const isOpen = ["PROPOSED", "APPROVED", "APPLYING", "STOPPED"].includes(status);
  const ticket = created.changeTicket ? { ticket: created.changeTicket } : {};
  const done = (): void => {
    setOpen(null);
    setEnded(null);
    onActed();
  };
  const apply = async (change: DeedChange, resume: boolean): Promise<RefusalLike | null> => {
    const { applyPlan } = await transport.request(ApplyPlan, { input: { planId: id, maxMoves, resume, change } });
    return applyPlan.__typename === "PlanApplied" ? null : applyPlan;
  };

  // The next wave once the one before is shown as made; a stop, a refusal or leaving the page ends it.
  const wave = useRef(-1);
  useEffect(() => {
    if (going === null || wave.current === movesMade) return;
    if (left <= 0 || status === "STOPPED" || !isOpen) return setGoing(null);
    if (next === 0) {
      if (unread === null) return; // until it is known how many moves the wave has
      setGoing(null);
      return setEnded(describeError(unread, words.notApplied));
    }
    wave.current = movesMade;
    apply({ ...going, idempotencyKey: `${going.idempotencyKey}-${movesMade}` }, false).then(
      (refusal) => {
        if (refusal !== null) {
          setGoing(null);
          setEnded(describeRefusal(refusal, words.notApplied));
        }
        onActed();
      },
      (cause: unknown) => {
        setGoing(null);
        setEnded(describeError(fromUnknown(cause), words.notApplied));
        onActed();
      },
    );
  }, [going, movesMade, status, next, unread]); // eslint-disable-line

  const isOwn = asking?.authRequired === true && asking.subject === created.actor;
  const canDecide = may("mesh.approve") && (status === "PROPOSED" || status === "APPROVED");
  return (
    <div className="actions plan-actions">
      {going !== null && (
        <span role="status" className="running">
          {words.running(movesMade, moveCount)}
        </span>
      )}
      {status === "PROPOSED" && !may("mesh.approve") && asking !== null && <span className="quiet note">{words.mayNotApprove}</span>}
      {canDecide && status === "PROPOSED" && isOwn && <span className="quiet note">{words.own}</span>}
      {canDecide && status === "PROPOSED" && !isOwn && (
        <button type="button" className="button" onClick={() => setOpen("approve")}>
          {words.approve}
        </button>
      )}
      {may("mesh.approve") && isOpen && (
        <button type="button" className="button danger" onClick={() => setOpen("reject")}>
          {words.reject}
        </button>
      )}
      {may("mesh.operate") && status === "APPLYING" && (
        <button type="button" className="button" onClick={() => setOpen("stop")}>
          {words.stop}
        </button>
      )}
      {may("mesh.operate") && isOpen && left > 0 && next > 0 && block === "none" && going === null && (
        <button type="button" className="button primary" onClick={() => setOpen("apply")}>
          {status === "STOPPED" ? words.resumeWave(next) : words.applyWave(next)}
        </button>
      )}
      {may("mesh.operate") && may("mesh.admin") && isOpen && left > 0 && next > 0 && block === "forcible" && going === null && (
        <button type="button" className="button danger" onClick={() => setOpen("force")}>
          {words.forceWave(next)}
        </button>
      )}
      {ended && (
        <div className="ended">
          <Refused described={ended} />
        </div>
      )}
      {open === "approve" && (
        <DeedDialog
          title={words.approveTitle(id)}
          deed={words.approve}
          verb={words.notApproved}
          {...ticket}
          send={async (change) => {
            const { approvePlan } = await transport.request(ApprovePlan, { input: { planId: id, change } });
            return approvePlan.__typename === "PlanChanged" ? null : approvePlan;
          }}
          onDone={done}
          onClose={() => setOpen(null)}
        >
          <p>{words.verdict(moveCount, plan.shardCount, String(Math.round(plan.movedPercent * 10) / 10))}.</p>
        </DeedDialog>
      )}
      {open === "reject" && (
        <DeedDialog
          title={words.rejectTitle(id)}
          deed={words.reject}
          verb={words.notRejected}
          isDangerous
          {...ticket}
          send={async (change) => {
            const { rejectPlan } = await transport.request(RejectPlan, { input: { planId: id, change } });
            return rejectPlan.__typename === "PlanChanged" ? null : rejectPlan;
          }}
          onDone={done}
          onClose={() => setOpen(null)}
        />
      )}
      {open === "stop" && (
        <DeedDialog
          title={words.stopTitle(id)}
          deed={words.stop}
          verb={words.notStopped}
          {...ticket}
          send={async (change) => {
            const { stopPlan } = await transport.request(StopPlan, { input: { planId: id, change } });
            return stopPlan.__typename === "PlanChanged" ? null : stopPlan;
          }}
          onDone={done}
          onClose={() => setOpen(null)}
        >
          <p>{words.stopHint}</p>
        </DeedDialog>
      )}
      {(open === "apply" || open === "force") && (
        <DeedDialog
          forces={id.slice(0, 8)}
          isForced={open === "force"}
          title={words.applyTitle(id)}
          deed={status === "STOPPED" ? words.resumeWave(next) : words.applyWave(next)}
          verb={words.notApplied}
          {...ticket}
          send={async (change) => {
            const refusal = await apply(change, status === "STOPPED");
            if (refusal === null && goesOn && next < left) {
              wave.current = movesMade;
              const { force: _, ...others } = change; // each wave is forced for a reason of its own
              setGoing(others);
            }
            return refusal;
          }}
          onDone={done}
          onClose={() => setOpen(null)}
        >
          <p>
            {words.applyHint(next, left)}
            {open === "force" && ` ${words.forceHint}`}
          </p>
          {next < left && (
            <label className="check">
              <input type="checkbox" checked={goesOn} onChange={(event) => setGoesOn(event.target.checked)} />
              <span>
                {words.goOn}. <span className="quiet">{words.goOnHint}</span>
              </span>
            </label>
          )}
        </DeedDialog>
      )}
    </div>
  );
}

/** Makes the plan that takes a wave back. */
export function RollBackWave({ change: changeId, moved }: { change: string; moved: number }) {
  const may = useMay();
  const [, navigate] = useLocation();
  const [isOpen, setOpen] = useState(false);
  if (!may("mesh.operate")) return null;
  return (
    <>
      <button type="button" className="link" onClick={() => setOpen(true)}>
        {words.rollBackWave}
      </button>
      {isOpen && (
        <DeedDialog
          title={text.shard.rollbackTitle(changeId)}
          deed={text.shard.rollbackDeed}
          verb={text.shard.notPlanned}
          send={async (change) => {
            const { rollbackChange } = await transport.request(RollbackChange, { input: { changeId, change }, details: false });
            if (rollbackChange.__typename !== "PlanProposed") return rollbackChange;
            navigate(`/plans/${rollbackChange.plan.id}`);
            return null;
          }}
          onDone={() => setOpen(false)}
          onClose={() => setOpen(false)}
        >
          <p>{text.shard.rollbackHint(moved)}</p>
        </DeedDialog>
      )}
    </>
  );
}
