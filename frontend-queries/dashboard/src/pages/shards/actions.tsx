/** What can be done with a shard: only what the token may do is offered. */
import type { RefusalLike } from "@omnirelay/mesh-queries";
import { DeleteShards, RollbackChange, UpdateShard } from "@omnirelay/mesh-queries/trusted";
import { useState } from "react";
import { useLocation } from "wouter";

import { mesh } from "../../api/live.js";
import { transport } from "../../api/client.js";
import { DeedDialog } from "../../components/deed.js";
import type { DeedChange } from "../../components/deed.js";
import { useMay } from "../../lib/scopes.js";
import { text } from "../../text.js";
import type { ReviewedShard } from "./shard.js";

const words = text.shard;

export function ShardActions({ shard }: { shard: ReviewedShard }) {
  const may = useMay();
  const [, navigate] = useLocation();
  const [open, setOpen] = useState<"move" | "pin" | "rollback" | "remove" | null>(null);
  const [target, setTarget] = useState("");
  const [version, setVersion] = useState(shard.version);
  const close = (): void => setOpen(null);
  const start = (deed: typeof open) => () => {
    setVersion(shard.version);
    setTarget("");
    setOpen(deed);
  };
  if (!may("mesh.operate")) return null;
  const { namespace, shardId, lastChange } = shard;
  const name = `${namespace}/${shardId}`;

  const update = async (changed: object, change: DeedChange): Promise<RefusalLike | null> => {
    const input = { namespace, shardId, expectedVersion: version, ...changed, change };
    const { updateShard } = await transport.request(UpdateShard, { input });
    return updateShard.__typename === "ShardsChanged" ? null : updateShard;
  };
  /** Somebody else was faster: who, and the version that is there now. */
  const after = (refusal: RefusalLike) => {
    const [conflict] = (refusal.conflicts ?? []) as readonly { actualVersion?: ReviewedShard["version"] | null; lastChange?: { actor: string; changeTicket: string | null } | null }[];
    if (!conflict?.actualVersion || conflict.actualVersion === version) return null;
    const { actualVersion, lastChange: by } = conflict;
    return (
      <>
        {by && <p>{words.stale(by.actor, by.changeTicket, actualVersion)}</p>}
        <button type="button" className="button" onClick={() => setVersion(actualVersion)}>
          {words.useVersion(actualVersion)}
        </button>
      </>
    );
  };
  const nodes = [...mesh.nodes.values()].filter(({ nodeId, status }) => status === "ACTIVE" && nodeId !== shard.ownerNodeId);
  return (
    <div className="actions">
      <button type="button" className="button" onClick={start("move")}>
        {words.move}
      </button>
      <button type="button" className="button" onClick={start("pin")}>
        {shard.pinned ? words.unpin : words.pin}
      </button>
      {lastChange && (
        <button type="button" className="button" onClick={start("rollback")}>
          {words.rollback}
        </button>
      )}
      <button type="button" className="button danger" onClick={start("remove")}>
        {words.remove}
      </button>
      {open === "remove" && (
        <DeedDialog
          title={words.removeTitle(name)}
          deed={words.removeTitle(name)}
          verb={words.notRemoved}
          isDangerous
          confirms={name}
          forces={name}
          send={async (change) => {
            const input = { shards: [{ namespace, shardId, expectedVersion: version }], change };
            const { deleteShards } = await transport.request(DeleteShards, { input });
            return deleteShards.__typename === "ShardsChanged" ? null : deleteShards;
          }}
          onDone={close}
          onClose={close}
          after={after}
        >
          <p>{words.removeHint(shard.ownerNodeId)}</p>
        </DeedDialog>
      )}
      {open === "move" && (
        <DeedDialog
          title={words.moveTitle(name)}
          forces={name}
          deed={target ? words.moveDeed(target) : words.move}
          verb={words.notMoved}
          isReady={target !== ""}
          send={(change) => update({ ownerNodeId: target }, change)}
          onDone={close}
          onClose={close}
          after={after}
        >
          <label className="field">
            <span>{words.moveTo}</span>
            <select className="select" required value={target} onChange={(event) => setTarget(event.target.value)}>
              <option value="" />
              {nodes.map(({ nodeId, region }) => (
                <option key={nodeId} value={nodeId}>
                  {region ? `${nodeId} (${region})` : nodeId}
                </option>
              ))}
            </select>
          </label>
        </DeedDialog>
      )}
      {open === "pin" && (
        <DeedDialog
          title={shard.pinned ? words.unpinTitle(name) : words.pinTitle(name)}
          deed={shard.pinned ? words.unpinDeed : words.pinDeed(shard.ownerNodeId)}
          verb={words.notPinned}
          forces={name}
          send={(change) => update({ pin: shard.pinned ? null : { reason: change.reason } }, change)}
          onDone={close}
          onClose={close}
          after={after}
        />
      )}
      {open === "rollback" && lastChange && (
        <DeedDialog
          title={words.rollbackTitle(lastChange.id)}
          deed={words.rollbackDeed}
          verb={words.notPlanned}
          {...(lastChange.changeTicket ? { ticket: lastChange.changeTicket } : {})}
          send={async (change) => {
            const { rollbackChange } = await transport.request(RollbackChange, { input: { changeId: lastChange.id, change }, details: false });
            if (rollbackChange.__typename !== "PlanProposed") return rollbackChange;
            navigate(`/plans/${rollbackChange.plan.id}`);
            return null;
          }}
          onDone={close}
          onClose={close}
        >
          <p>{words.rollbackHint(lastChange.shardCount)}</p>
        </DeedDialog>
      )}
    </div>
  );
}
