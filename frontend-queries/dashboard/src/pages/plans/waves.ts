/**
 * The waves that a plan is likely applied in, in the order of the moves. The server cuts them: it may make fewer moves where
 * a window of moves is nearly used, and a few more where several moves can be made in one change only.
 */
import type { PlanMovesQuery } from "@omnirelay/mesh-queries/trusted";

export type PlannedMove = NonNullable<PlanMovesQuery["rebalancePlan"]>["proposal"]["moves"]["nodes"][number];

/** Reasons that budgets are not about, unless the policy says so. */
const INVOLUNTARY: ReadonlySet<string> = new Set(["OWNER_REMOVED", "OWNER_DOWN", "LEADER_REMOVED", "LEADER_DOWN"]);

export interface Budget {
  readonly percent: number;
  readonly shardCount: number;
  readonly isInvoluntaryLimited: boolean;
}

/** How many of the moves from `start` on the next wave makes: up to the first that breaks a budget. */
export function waveLength(moves: readonly PlannedMove[], start: number, budgets: ReadonlyMap<string, Budget>, most: number): number {
  const made = new Map<string, number>();
  const end = Math.min(moves.length, start + most);
  for (let at = start; at < end; at += 1) {
    const { namespace, fromNodeId, toNodeId, reason } = moves[at] as PlannedMove;
    const budget = budgets.get(namespace);
    if (budget === undefined || fromNodeId === toNodeId) continue;
    if (!budget.isInvoluntaryLimited && INVOLUNTARY.has(reason)) continue;
    const count = (made.get(namespace) ?? 0) + 1;
    // Rounded up as the server does, in fractions: 1.1 % of 1,000 are 11.
    if (count > Math.max(1, Math.ceil((budget.percent * budget.shardCount) / 100 - 1e-9))) return at - start;
    made.set(namespace, count);
  }
  return end - start;
}

/** The lengths of the waves that are left, of those `made`. */
export function wavesLeft(moves: readonly PlannedMove[], made: number, budgets: ReadonlyMap<string, Budget>, most: number): number[] {
  const lengths: number[] = [];
  for (let at = made; at < moves.length; ) {
    const length = Math.max(1, waveLength(moves, at, budgets, most));
    lengths.push(length);
    at += length;
  }
  return lengths;
}
