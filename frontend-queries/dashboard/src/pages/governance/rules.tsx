/** The rules of each namespace, and how much of its window of moves is used. */
import { Instant } from "../../components/instant.js";
import { useServerNow } from "../../lib/now.js";
import { amount, durationOf } from "../../lib/time.js";
import { text } from "../../text.js";
import type { GovernedNamespace } from "./index.js";

const words = text.governance;

export function Rules({ namespaces }: { namespaces: readonly GovernedNamespace[] }) {
  const now = useServerNow();
  const heads = words.columns;
  return (
    <section aria-labelledby="rules">
      <h2 id="rules">{words.rules}</h2>
      <div className="scroll-x" role="region" aria-label={words.tabs.rules} tabIndex={0}>
        <table className="table rules">
          <thead>
            <tr>
              {Object.values(heads).map((each) => (
                <th key={each} scope="col">
                  {each}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {namespaces.map(({ name, policy, windowUse, freezesBetween }) => {
              const frozen = freezesBetween.find(({ begins, ends }) => Date.parse(begins) <= now && now < Date.parse(ends));
              const next = freezesBetween.find(({ begins }) => Date.parse(begins) > now);
              const length = durationOf(policy.windowSeconds * 1000);
              return (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td>
                    {policy.ticketPattern !== null ? (
                      <span className="mono">{words.ticketPattern(policy.ticketPattern, policy.ticketRequired)}</span>
                    ) : policy.ticketRequired ? (
                      words.ticketAny
                    ) : (
                      <span className="quiet">{words.ticketNone}</span>
                    )}
                  </td>
                  <td>{policy.approvalRequired ? words.approvalYes : <span className="quiet">{words.approvalNo}</span>}</td>
                  <td>{words.budget(amount(policy.moveBudgetPercent))}</td>
                  <td className="nowrap">
                    {windowUse ? (
                      <>
                        <progress className="progress" value={windowUse.used} max={Math.max(1, windowUse.allowed)} aria-label={heads.window} />{" "}
                        {words.window(windowUse.used, windowUse.allowed, length)}
                        {windowUse.freeAt && (
                          <>
                            {`, ${words.freeAt} `}
                            <Instant at={windowUse.freeAt} />
                          </>
                        )}
                      </>
                    ) : (
                      <span className="quiet">{words.windowNone}</span>
                    )}
                  </td>
                  <td>{policy.shardWindowMoves === null ? <span className="quiet">{words.windowNone}</span> : words.shardWindow(policy.shardWindowMoves, length)}</td>
                  <td>{policy.ownersMustBeRegistered ? words.ownersRegistered : <span className="quiet">{words.ownersAny}</span>}</td>
                  <td className="nowrap">
                    {frozen ? (
                      <>
                        <span className="tag lost">{words.frozen}</span> {words.until} <Instant at={frozen.ends} />
                      </>
                    ) : next ? (
                      <>
                        {words.freezeFrom} <Instant at={next.begins} />
                      </>
                    ) : (
                      <span className="quiet">{words.freezeNone}</span>
                    )}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}
