/** Plans, the newest first: the open ones, or all. */
import { describeError } from "@omnirelay/mesh-queries";
import { ListRebalancePlans } from "@omnirelay/mesh-queries/trusted";
import type { PlanStatus } from "@omnirelay/mesh-queries/trusted";
import { Link } from "wouter";

import { changeLog, mesh } from "../../api/live.js";
import { Refused } from "../../components/deed.js";
import { Instant } from "../../components/instant.js";
import { Pager } from "../../components/pager.js";
import { useStore } from "../../lib/external.js";
import { usePages } from "../../lib/pages.js";
import { useQueryState } from "../../lib/query.js";
import { useMay } from "../../lib/scopes.js";
import { amount } from "../../lib/time.js";
import { text } from "../../text.js";

const words = text.plans;
const PAGE = 50;
const OPEN: PlanStatus[] = ["PROPOSED", "APPROVED", "APPLYING", "STOPPED"];

/** Another value where something was done with a plan, or with this one. */
export function usePlanChanges(id?: string): string {
  const rows = useStore(changeLog);
  return rows.findLast(({ planId }) => planId !== null && (id === undefined || planId === id))?.id ?? "";
}

export function PlanList() {
  useStore(mesh);
  const may = useMay();
  const [query, change] = useQueryState();
  const namespace = query.get("ns") ?? "";
  const isAll = query.get("show") === "all";
  const filter = { ...(namespace ? { namespace } : {}), ...(isAll ? {} : { statuses: OPEN }) };
  const pages = usePages(ListRebalancePlans, { filter }, PAGE, ({ rebalancePlans }) => rebalancePlans, usePlanChanges());
  const { error } = pages;
  const plans = pages.rows ?? [];
  const heads = words.columns;
  return (
    <>
      <div className="head">
        <h1>{words.heading}</h1>
        {may("mesh.operate") && (
          <div className="actions">
            <Link href="/plans/new" className="button">
              {words.fresh}
            </Link>
          </div>
        )}
      </div>
      <div className="filters plan-filters">
        <label>
          <span className="name">{words.filter}</span>
          <select className="select" value={isAll ? "all" : ""} onChange={(event) => change({ show: event.target.value })}>
            <option value="">{words.open}</option>
            <option value="all">{words.all}</option>
          </select>
        </label>
        <label>
          <span className="name">{text.filters.namespace}</span>
          <select className="select" value={namespace} onChange={(event) => change({ ns: event.target.value })}>
            <option value="">{text.filters.all}</option>
            {[...mesh.namespaces.keys()].map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
      </div>
      {error && <Refused described={describeError(error, text.failed)} />}
      {pages.rows?.length === 0 && (
        <div className="blank">
          <p>{isAll || namespace ? (namespace ? text.empty.filtered : words.none) : words.noneOpen}</p>
          {!isAll && (
            <button type="button" className="button" onClick={() => change({ show: "all" })}>
              {text.plans.toList}
            </button>
          )}
        </div>
      )}
      {plans.length > 0 && (
        <table className="table flow plan-table">
          <caption className="sr">{words.heading}</caption>
          <thead>
            <tr>
              <th scope="col">{heads.plan}</th>
              <th scope="col">{heads.status}</th>
              <th scope="col">{heads.namespaces}</th>
              <th scope="col" className="right">
                {heads.moves}
              </th>
              <th scope="col">{heads.progress}</th>
              <th scope="col">{heads.by}</th>
              <th scope="col">{heads.created}</th>
              <th scope="col">{heads.expires}</th>
            </tr>
          </thead>
          <tbody>
            {plans.map((plan) => (
              <tr key={plan.id}>
                <td className="nowrap">
                  <Link href={`/plans/${plan.id}`}>{plan.id.slice(0, 8)}</Link> <span className="quiet">{words.kinds[plan.kind].toLowerCase()}</span>
                </td>
                <td>
                  <PlanTag status={plan.status} />
                </td>
                <td>{plan.namespaces.join(", ")}</td>
                <td className="right nowrap">{words.moves(plan.moveCount, plan.shardCount, amount(plan.movedPercent))}</td>
                <td>
                  <Progress made={plan.movesMade} of={plan.moveCount} />
                </td>
                <td className="by">
                  <span>{words.proposed(text.change.by(plan.created.actor, plan.created.changeTicket))}</span>
                  <span className="quiet clamp" title={plan.created.reason}>{`"${plan.created.reason}"`}</span>
                  {plan.approved && <span>{words.approvedBy(plan.approved.actor)}</span>}
                </td>
                <td className="nowrap">
                  <Instant at={plan.created.committedAt} />
                </td>
                <td className="nowrap quiet">{OPEN.includes(plan.status) ? <Instant at={plan.expiresAt} /> : ""}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <Pager pages={pages} />
    </>
  );
}

const MARKS: Readonly<Record<PlanStatus, string>> = {
  PROPOSED: "moved",
  APPROVED: "moved",
  APPLYING: "leaving",
  STOPPED: "leaving",
  REJECTED: "lost",
  EXPIRED: "held",
  SUPERSEDED: "held",
  APPLIED: "",
  NOTHING_TO_DO: "held",
};

export function PlanTag({ status }: { status: PlanStatus }) {
  return <span className={`tag ${MARKS[status]}`}>{words.statuses[status].toUpperCase()}</span>;
}

export function Progress({ made, of }: { made: number; of: number }) {
  return (
    <span className="made">
      <progress className="progress" value={made} max={Math.max(1, of)} aria-label={words.columns.progress} />
      <span className="quiet">{words.made(made, of)}</span>
    </span>
  );
}
