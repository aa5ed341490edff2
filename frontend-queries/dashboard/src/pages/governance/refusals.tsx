/** What was refused, the newest first: who wanted what, which rule was in the way, and what would have helped. */
import { describeError, describeRefusal } from "@omnirelay/mesh-queries";
import { RefusedChanges } from "@omnirelay/mesh-queries/trusted";

import { Refused } from "../../components/deed.js";
import { Instant } from "../../components/instant.js";
import { Pager } from "../../components/pager.js";
import { usePages } from "../../lib/pages.js";
import { text } from "../../text.js";
import { FilterFields, useFilter } from "./filters.js";

const words = text.governance;
const PAGE = 50;

export function Refusals({ again }: { again: string }) {
  const filter = useFilter();
  const pages = usePages(RefusedChanges, { filter: filter as never }, PAGE, ({ refusals }) => refusals, again);
  const { error } = pages;
  const rows = pages.rows ?? [];
  const heads = words.refusalColumns;
  return (
    <section aria-labelledby="refusals">
      <h2 id="refusals" className="sr">
        {words.refusals}
      </h2>
      <FilterFields />
      {error && <Refused described={describeError(error, text.failed)} />}
      {pages.rows?.length === 0 && <p className="blank">{Object.keys(filter).length > 0 ? text.empty.filtered : words.refusalsNone}</p>}
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
      <Pager pages={pages} />
    </section>
  );
}
