/** What draining the node that is chosen would move, and what can be done with it: only what the token may do is offered. */
import type { RefusalLike } from "@omnirelay/mesh-queries";
import { UpdateNode } from "@omnirelay/mesh-queries/trusted";
import { useState } from "react";
import { Link } from "wouter";

import { readOverview } from "../../api/live.js";
import { transport } from "../../api/client.js";
import { DeedDialog } from "../../components/deed.js";
import type { DeedChange } from "../../components/deed.js";
import { useMay } from "../../lib/scopes.js";
import { count } from "../../lib/time.js";
import type { MeshNode } from "../../store/mesh.js";
import { text } from "../../text.js";

const words = text.mesh.node;

type Deed = keyof typeof words.deeds;

const STATUSES = { activate: "ACTIVE", cordon: "CORDONED", down: "DOWN", remove: "REMOVED" } as const;

export function NodeActions({ node, onRemoved }: { node: MeshNode; onRemoved(): void }) {
  const may = useMay();
  const [open, setOpen] = useState<Deed | null>(null);
  const [version, setVersion] = useState(node.version);
  const { nodeId, status, shardCount, leaderCount } = node;
  const start = (deed: Deed) => () => {
    setVersion(node.version);
    setOpen(deed);
  };
  const close = (): void => setOpen(null);
  const send = async (deed: Deed, change: DeedChange): Promise<RefusalLike | null> => {
    const input = { nodeId, expectedVersion: version, status: STATUSES[deed], change };
    const { updateNode } = await transport.request(UpdateNode, { input });
    if (updateNode.__typename !== "NodeChanged") return updateNode;
    await readOverview();
    if (deed === "remove") onRemoved();
    return null;
  };
  /** Another was faster: the version that is there now. */
  const after = (refusal: RefusalLike) => {
    const { actualVersion } = refusal as { actualVersion?: MeshNode["version"] };
    if (refusal.__typename !== "NodeVersionConflict" || !actualVersion || actualVersion === version) return null;
    return (
      <button type="button" className="button" onClick={() => setVersion(actualVersion)}>
        {text.shard.useVersion(actualVersion)}
      </button>
    );
  };
  const offered: readonly Deed[] = [
    ...(status !== "ACTIVE" ? (["activate"] as const) : []),
    ...(status === "ACTIVE" ? (["cordon"] as const) : []),
    ...(status !== "DOWN" ? (["down"] as const) : []),
    "remove",
  ];
  const isEmpty = shardCount + leaderCount === 0;
  return (
    <div className="actions node-actions" role="group" aria-label={words.label(nodeId)}>
      {status !== "DRAINING" || !isEmpty ? (
        <Link href={`/plans/new?drain=${encodeURIComponent(nodeId)}`} className="button">
          {words.drain}
        </Link>
      ) : null}
      {may("mesh.operate") && offered.map((deed) => (
        <button key={deed} type="button" className={`button ${deed === "remove" || deed === "down" ? "danger" : ""}`} onClick={start(deed)}>
          {words.deeds[deed]}
        </button>
      ))}
      {open !== null && (
        <DeedDialog
          title={words.title(words.deeds[open], nodeId)}
          deed={words.title(words.deeds[open], nodeId)}
          verb={words.notDone[open]}
          isDangerous={open === "remove" || open === "down"}
          {...(open === "remove" ? { confirms: nodeId } : {})}
          send={(change) => send(open, change)}
          onDone={close}
          onClose={close}
          after={after}
        >
          <p>
            {words.hints[open]}
            {open === "remove" && !isEmpty && ` ${words.inUse(count(shardCount), count(leaderCount))}`}
          </p>
        </DeedDialog>
      )}
    </div>
  );
}
