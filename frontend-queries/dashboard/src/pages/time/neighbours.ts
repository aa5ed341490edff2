/** The changes around a moment. */
import type { ChangesAroundQuery } from "@omnirelay/mesh-queries/trusted";

export type SteppedChange = ChangesAroundQuery["before"]["nodes"][number];

export interface Neighbours {
  /** The newest change at the moment; undefined where there is none. */
  readonly latest: SteppedChange | undefined;
  readonly before: SteppedChange | undefined;
  readonly next: SteppedChange | undefined;
}

/** Of the changes up to a time, the newest first, and of those after it: what is around a revision, or that time (null). */
export function neighboursOf(upTo: readonly SteppedChange[], after: readonly SteppedChange[], revision: string | null): Neighbours {
  const isLater = (each: SteppedChange): boolean => revision !== null && Number(each.lastRevision) > Number(revision);
  const from = upTo.findIndex((each) => !isLater(each));
  const first = from < 0 ? upTo.length : from;
  return { latest: upTo[first], before: upTo[first + 1], next: upTo[first - 1] ?? after[0] };
}
