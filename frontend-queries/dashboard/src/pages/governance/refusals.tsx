/** What was refused, the newest first: who wanted what, which rule was in the way, and what would have helped. */
import { describeError, describeRefusal } from "@omnirelay/mesh-queries";
import { RefusedChanges } from "@omnirelay/mesh-queries/trusted";
import type { RefusedChangesQuery } from "@omnirelay/mesh-queries/trusted";
import { useEffect, useState } from "react";

import { transport } from "../../api/client.js";
import { Refused } from "../../components/deed.js";
import { Instant } from "../../components/instant.js";
import { useRequest } from "../../lib/request.js";
import { text } from "../../text.js";
import { FilterFields, useFilter } from "./filters.js";

const words = text.governance;
const PAGE = 50;

type Row = RefusedChangesQuery["refusals"]["nodes"][number];

export function Refusals({ again }: { again: string }) {
  const filter = useFilter();
  const { data, error } = useRequest(RefusedChanges, { filter: filter as never, first: PAGE }, again);
  const first = data?.refusals;
  const [older, setOlder] = useState<{ rows: readonly Row[]; next: string | null }>({ rows: [], next: null });
  useEffect(() => setOlder({ rows: [], next: first?.pageInfo.hasNextPage ? (first.pageInfo.endCursor ?? null) : null }), [first]);
  const rows = [...(first?.nodes ?? []), ...older.rows];
  const heads = words.refusalColumns;
  return (
    <section aria-labelledby="refusals">
      <h2 id="refusals" className="sr">
        {words.refusals}
      </h2>
      <FilterFields />
      {error && <Refused described={describeError(error, text.failed)} />}
      {first && rows.length === 0 && <p className="blank">{Object.keys(filter).length > 0 ? text.empty.filtered : words.refusalsNone}</p>}
      {rows.length > 0 && (
        <table className="table flow refusals">
          <caption className="sr">{words.refusals}</caption>
          <thead>
            <tr>
              <th scope="col">{heads.when}</th>
              <th scope="col">{heads.who}</th>
              <th scope="col">{heads.what}</th>
              <th scope="col">{heads.rule}</th>
              <th scope="col">{heads.remedy}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => {
              const { details, remedy } = describeRefusal({ __typename: row.outcome, violations: row.brokenRules });
              return (
                <tr key={row.id}>
                  <td className="nowrap">
                    <Instant at={row.refusedAt} as="instant" />
                  </td>
                  <td>
                    {row.actor}
                    {row.changeTicket && <span className="quiet"> {row.changeTicket}</span>}
                  </td>
                  <td>
                    {text.kinds[row.kind]} <span className="quiet">{row.namespaces.join(", ")}</span>
                    <span className="block quiet">{`"${row.reason}"`}</span>
                  </td>
                  <td className="wide-rule">
                    {row.brokenRules.length > 0 ? (
                      details.slice(0, 3).map((each) => (
                        <span key={each} className="block">
                          {each}
                        </span>
                      ))
                    ) : (
                      <span>{words.outcomes(row.outcome)}</span>
                    )}
                    {row.brokenRules.length > 3 && <span className="block quiet">{text.find.more(row.brokenRules.length - 3)}</span>}
                    {row.leftOut !== "0" && <span className="block quiet">{words.leftOut(row.leftOut)}</span>}
                  </td>
                  <td className="quiet">{remedy}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
      {older.next !== null && (
        <p className="more">
          <button
            type="button"
            className="button"
            onClick={() =>
              void transport.request(RefusedChanges, { filter: filter as never, first: PAGE, after: older.next }).then(({ refusals: { nodes, pageInfo } }) =>
                setOlder({ rows: [...older.rows, ...nodes], next: pageInfo.hasNextPage ? (pageInfo.endCursor ?? null) : null }),
              )
            }
          >
            {words.older}
          </button>
        </p>
      )}
    </section>
  );
}
