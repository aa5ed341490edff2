/** Where the page is: revision, state, lag and age. Never "live" when it is not. */
import { connection } from "../api/live.js";
import type { Connection } from "../api/live.js";
import { useValue } from "../lib/external.js";
import { useNow } from "../lib/now.js";
import { text } from "../text.js";

/** Servers call every 10 s: this much silence is a doubt. The follower gives the connection up after 25. */
const UNSURE_MS = 15_000;

export type State = "connecting" | "listing" | "live" | "unsure" | "lost" | "refused" | "over";

export function stateOf({ phase, heardAt }: Connection, now: number): State {
  return phase === "live" && now - heardAt > UNSURE_MS ? "unsure" : phase;
}

const MARKS: Record<State, string> = {
  connecting: "working",
  listing: "working",
  live: "",
  unsure: "unsure",
  lost: "lost",
  refused: "lost",
  over: "lost",
};

export function Position() {
  const now = useNow();
  const current = useValue(connection);
  const state = stateOf(current, now);
  const age = Math.max(0, now - current.heardAt);
  const words = text.connection;
  const label = state === "listing" ? words.listing(current.listed, current.expected) : words[state];
  return (
    <div className="position" data-state={state} role="group" aria-label={words.label}>
      {current.revision && <span className="revision">{words.revision(current.revision)}</span>}
      <span className={`state ${MARKS[state]}`}>{label}</span>
      {state === "live" && (
        <span className="behind quiet" title={words.behindTitle}>
          {current.isBehind ? (
            words.catchingUp
          ) : (
            <>
              {words.behind[0]} <span className="wide">{words.behind[1]} </span>
              {words.behind[2]}
            </>
          )}
        </span>
      )}
      {current.heardAt > 0 && (
        <span className="age quiet" title={words.ageTitle}>
          <span className="wide">{words.heard} </span>
          {words.age(age)}
          <span className="wide"> {words.ago}</span>
        </span>
      )}
    </div>
  );
}
