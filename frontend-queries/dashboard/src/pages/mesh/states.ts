/** How a shard stands, for the map: what of it needs attention comes first. */
import type { MeshNode, MeshStore } from "../../store/mesh.js";
import { NONE, STATUSES } from "../../store/mesh.js";

export type CellState = "rest" | "leaving" | "lost" | "held";

/** A move is shown for so long. */
export const MOVED_MS = 10_000;

/** Of a node's shards, by its status; a node that is not registered has lost them. */
export function nodeState(node: Pick<MeshNode, "status"> | undefined): CellState {
  switch (node?.status) {
    case undefined:
    case "DOWN":
    case "REMOVED":
      return "lost";
    case "CORDONED":
    case "DRAINING":
      return "leaving";
    default:
      return "rest";
  }
}

const DRAINING = STATUSES.indexOf("DRAINING");
const PAUSED = STATUSES.indexOf("PAUSED");

/** `node` is how its node stands. */
export function cellState(status: number, node: CellState): CellState {
  if (node === "lost") return "lost";
  if (node === "leaving" || status === DRAINING) return "leaving";
  return status >= PAUSED ? "held" : "rest";
}

/** Each node's state by its number. */
export function nodeStates(store: MeshStore): CellState[] {
  return store.nodeNames.list.map((id) => nodeState(store.nodes.get(id)));
}

/** Whether a person should look at it: all but resting, and pins. */
export const needsAttention = (store: MeshStore, row: number, states: readonly CellState[]): boolean => {
  const owner = store.owner[row] as number;
  return owner !== NONE && cellState(store.status[row] as number, states[owner] ?? "lost") !== "rest";
};
