/** What stands between the reader and what is true: a lost connection, a token that is missing, a list read anew. */
import { useEffect, useRef, useState } from "react";

import { isOutdated } from "../api/client.js";
import { connection, dismissRelisted, retryNow } from "../api/live.js";
import { useValue } from "../lib/external.js";
import { useNow } from "../lib/now.js";
import { token } from "../lib/settings.js";
import { durationOf } from "../lib/time.js";
import { text } from "../text.js";
import { stateOf } from "./position.js";

/** A connection that is back within this time was never worth a sentence. */
const NOTICED_MS = 1_000;

export function Notices({ onToken }: { onToken(): void }) {
  const now = useNow();
  const current = useValue(connection);
  const needsReload = useValue(isOutdated);
  const state = stateOf(current, now);
  const words = text.connection;
  const lostAt = useRef(0);
  if (state === "lost") lostAt.current ||= now;
  else lostAt.current = 0;
  const ago = durationOf(now - (current.heardAt || now));
  const retry = words.retryIn(Math.ceil((current.retryAt - now) / 1000));
  const [spoken, setSpoken] = useState("");
  const wasLost = useRef(false);
  useEffect(() => {
    if (state === "lost" && now - lostAt.current >= NOTICED_MS) {
      wasLost.current = true;
      setSpoken(words.sentenceLost(durationOf(0), current.revision, ""));
    } else if (state === "live" && wasLost.current) {
      wasLost.current = false;
      setSpoken(words.sentenceBack);
    }
  }, [state, now]); // eslint-disable-line -- `current` changes with each batch, what is spoken does not
  return (
    <>
      <div role="status" className="sr">
        {spoken}
      </div>
      {state === "lost" && now - lostAt.current >= NOTICED_MS && (
        <div className="notice lost">
          <p>{current.revision ? words.sentenceLost(ago, current.revision, retry) : words.sentenceLostFirst(retry)}</p>
          <button type="button" className="button" onClick={retryNow}>
            {words.now}
          </button>
        </div>
      )}
      {state === "unsure" && (
        <div className="notice">
          <p>{words.unsureSentence(ago)}</p>
        </div>
      )}
      {state === "refused" && (
        <div className="notice" role="alert">
          <p>{token.get() ? words.expired : words.needsToken}</p>
          <button type="button" className="button" onClick={onToken}>
            {words.paste}
          </button>
          <p className="quiet wrap-anywhere">{current.error?.message}</p>
        </div>
      )}
      {(needsReload || state === "over") && (
        <div className="notice lost" role="alert">
          <p>{needsReload ? words.outdated : words.over_(current.error?.message ?? "")}</p>
          <button type="button" className="button" onClick={() => location.reload()}>
            {words.reload}
          </button>
        </div>
      )}
      {current.relisted && (
        <div className="notice note" role="status">
          <p>
            {current.relisted.code === "COMPACTED"
              ? words.relisted.COMPACTED(current.relisted.revision)
              : words.relisted.other(current.relisted.revision)}
          </p>
          <button type="button" className="button" onClick={dismissRelisted}>
            {text.close}
          </button>
        </div>
      )}
    </>
  );
}
