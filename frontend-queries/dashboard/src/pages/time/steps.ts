/** Stepping from change to change, and by days: a press waits for what it needs to know, and none is lost. */
import { ChangesAround } from "@omnirelay/mesh-queries/trusted";
import { useEffect, useMemo, useRef, useState } from "react";

import { changeLog } from "../../api/live.js";
import { useStore } from "../../lib/external.js";
import { useRequest } from "../../lib/request.js";
import type { Moment } from "./moments.js";
import { justAfter } from "./moments.js";
import { neighboursOf } from "./neighbours.js";

export type Step = "previous" | "next" | "dayBefore" | "dayAfter";

const FEW = 2;
/** Changes that are committed together have one time; there are up to 128 of them. */
const ALL_AT_ONCE = 130;

/** What is around a moment of this time; null while it is not known. `at` null reads nothing. */
export function useNeighbours(moment: Moment, at: string | null, namespace: string) {
  const edge = at === null ? null : justAfter(at);
  const revision = moment.type === "revision" ? moment.revision : null;
  const variables = edge === null ? null : { until: edge, since: edge, most: FEW, ...(namespace ? { namespace } : {}) };
  // Where there is no next one, read again as soon as there may be.
  const newest = useStore(changeLog).findLast((each) => each.revision !== null && (!namespace || each.namespaces.includes(namespace)))?.id ?? "";
  const isAtEnd = useRef(false);
  const again = useRef("");
  if (isAtEnd.current) again.current = newest;
  const few = useRequest(ChangesAround, variables, again.current);
  isAtEnd.current = few.data !== null && few.data.after.nodes.length === 0;
  const isAmongOthers = few.data !== null && revision !== null && Number(few.data.before.nodes[0]?.lastRevision ?? 0) > Number(revision);
  const all = useRequest(ChangesAround, isAmongOthers && variables ? { ...variables, most: ALL_AT_ONCE } : null);
  const data = isAmongOthers ? all.data : few.data;
  const neighbours = useMemo(
    () => (data === null ? null : neighboursOf(data.before.nodes, data.after.nodes, revision)),
    [data, revision],
  );
  return { neighbours, error: few.error ?? all.error };
}

/**
 * Steps that wait for their turn. `target` is where a step leads from here: null where there is nothing, undefined while
 * that is not known. `here` is the address' moment; another one than a step led to ends those that wait.
 */
export function useSteps(here: string, target: (step: Step) => string | null | undefined, go: (target: string) => void) {
  const [waiting, setWaiting] = useState<readonly Step[]>([]);
  /** Where the last step led to, and whether the page is there. */
  const led = useRef<string | null>(null);
  const known = useRef(here);
  useEffect(() => {
    if (known.current !== here) {
      known.current = here;
      if (led.current !== here) setWaiting([]);
      led.current = null;
    }
  }, [here]);
  useEffect(() => {
    const step = waiting[0];
    if (step === undefined || led.current !== null) return;
    const found = target(step);
    if (found === undefined) return;
    setWaiting((before) => before.slice(1));
    if (found === null || found === here) return;
    led.current = found;
    go(found);
  });
  return {
    isWaiting: waiting.length > 0,
    /** A key that is held down does not add to what waits: it would go on after it was let go. */
    press: (step: Step, isHeld = false) => setWaiting((before) => (isHeld && before.length > 0 ? before : [...before, step])),
  };
}

