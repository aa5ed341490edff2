/** The audit log, searched; the head of its chain; and its export as a file. */
import { describeError, fromUnknown } from "@omnirelay/mesh-queries";
import type { Description } from "@omnirelay/mesh-queries";
import { ListChanges } from "@omnirelay/mesh-queries/trusted";
import type { ListChangesQuery } from "@omnirelay/mesh-queries/trusted";
import { useState } from "react";
import { Link } from "wouter";

import { Refused } from "../../components/deed.js";
import { Instant } from "../../components/instant.js";
import { Pager } from "../../components/pager.js";
import { BASE } from "../../lib/base.js";
import { usePages } from "../../lib/pages.js";
import { useQueryState } from "../../lib/query.js";
import { useMay } from "../../lib/scopes.js";
import { token } from "../../lib/settings.js";
import { text } from "../../text.js";
import { FilterFields, useFilter } from "./filters.js";
import type { Filter } from "./filters.js";
import type { Governed } from "./index.js";

const words = text.governance;
const PAGE = 50;

type Row = ListChangesQuery["changes"]["nodes"][number];

export function AuditLog({ head }: { head: Governed["head"] | null }) {
  const [query, change] = useQueryState();
  const basic = useFilter();
  const search = query.get("q")?.trim();
  const kind = query.get("kind") ?? "";
  const isForced = query.get("forced") === "yes";
  const filter = { ...basic, ...(search ? { search } : {}), ...(kind ? { kinds: [kind] } : {}), ...(isForced ? { forced: true } : {}) };
  const newest = head?.newestChange.nodes[0];
  const pages = usePages(ListChanges, { filter: filter as never }, PAGE, ({ changes }) => changes, newest?.id);
  const { error } = pages;
  const rows = pages.rows ?? [];
  const heads = words.auditColumns;
  return (
    <section aria-labelledby="audit">
      <h2 id="audit" className="sr">
        {words.audit}
      </h2>
      <FilterFields>
        <label>
          <span className="name">{words.search}</span>
          <input
            className="input"
            type="search"
            maxLength={128}
            placeholder={words.searchHint}
            value={query.get("q") ?? ""}
            onChange={(event) => change({ q: event.target.value })}
          />
        </label>
        <label>
          <span className="name">{text.filters.kind}</span>
          <select className="select" value={kind} onChange={(event) => change({ kind: event.target.value })}>
            <option value="">{text.filters.any}</option>
            {Object.entries(text.kinds).map(([value, name]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label className="check">
          <input type="checkbox" checked={isForced} onChange={(event) => change({ forced: event.target.checked ? "yes" : null })} />
          {words.forcedOnly}
        </label>
      </FilterFields>
      <div className="audit-foot">
        {newest && (
          <p className="chain-head">
            <span className="quiet">{words.head}:</span> {words.headChange(newest.id)} <span className="mono" title={newest.hash}>{newest.hash.slice(0, 16)}</span>
            {head?.newestRefusal.nodes[0] && (
              <>
                {`, ${words.headRefusal(head.newestRefusal.nodes[0].id)} `}
                <span className="mono" title={head.newestRefusal.nodes[0].hash}>{head.newestRefusal.nodes[0].hash.slice(0, 16)}</span>
              </>
            )}
          </p>
        )}
        <Export filter={basic} />
      </div>
      {error && <Refused described={describeError(error, text.failed)} />}
      {pages.rows?.length === 0 && <p className="blank">{Object.keys(filter).length > 0 ? text.empty.filtered : words.auditNone}</p>}
      {rows.length > 0 && (
        <table className="table flow audit">
          <caption className="sr">{words.audit}</caption>
          <thead>
            <tr>
              <th scope="col">{heads.when}</th>
              <th scope="col" className="right">
                {heads.change}
              </th>
              <th scope="col">{heads.who}</th>
              <th scope="col">{heads.ticket}</th>
              <th scope="col">{heads.what}</th>
              <th scope="col">{heads.reason}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.id}>
                <td className="nowrap">
                  <Instant at={row.committedAt} as="instant" />
                </td>
                <td className="right quiet">{row.id}</td>
                <td>{row.actor}</td>
                <td>{row.changeTicket ?? ""}</td>
                <td>
                  {text.done[row.kind]} <span className="quiet">{whatOf(row)}</span>
                  {row.rebalance && (
                    <>
                      {" "}
                      <Link href={`/plans/${row.rebalance.planId}`}>{text.live.plan(row.rebalance.planId)}</Link>
                    </>
                  )}
                </td>
                <td className="wide">
                  {row.forced && (
                    <>
                      <span className="tag lost">{text.change.forced}</span> {row.forced}{" "}
                    </>
                  )}
                  {row.reason}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <Pager pages={pages} />
    </section>
  );
}

function whatOf({ shardCount, configuration, namespaces }: Row): string {
  if (configuration) return configuration.nodeId ?? configuration.namespace ?? "";
  return [shardCount > 0 ? text.change.changed(shardCount) : "", namespaces.join(", ")].filter(Boolean).join(" of ");
}

function Export({ filter }: { filter: Filter }) {
  const may = useMay();
  const [isRunning, setRunning] = useState(false);
  const [failed, setFailed] = useState<Description | null>(null);
  if (!may("mesh.audit")) return <p className="quiet">{words.mayNotExport}</p>;
  const save = async (format: "jsonl" | "csv"): Promise<void> => {
    setRunning(true);
    setFailed(null);
    try {
      await download(format, filter);
    } catch (cause) {
      setFailed(describeError(fromUnknown(cause), words.notExported));
    }
    setRunning(false);
  };
  return (
    <div className="export">
      <span title={words.exportHint}>{isRunning ? words.exporting : words.exportLabel}</span>
      <button type="button" className="button" disabled={isRunning} onClick={() => void save("jsonl")}>
        {words.exportJson}
      </button>
      <button type="button" className="button" disabled={isRunning} onClick={() => void save("csv")}>
        {words.exportCsv}
      </button>
      {failed && <Refused described={failed} />}
    </div>
  );
}

/** By fetch, for a link carries no token. Raises what the server answered where it exports nothing. */
async function download(format: "jsonl" | "csv", filter: Filter): Promise<void> {
  const { changeTicket, ...rest } = filter;
  const parameters = new URLSearchParams({ format, ...rest, ...(changeTicket ? { ticket: changeTicket } : {}) });
  const held = token.get();
  const response = await fetch(`${BASE}/audit/export?${parameters}`, { headers: held ? { authorization: `Bearer ${held}` } : {} });
  if (!response.ok) {
    const { errors } = (await response.json().catch(() => ({}))) as { errors?: unknown[] };
    throw fromUnknown(errors ?? new Error(response.statusText));
  }
  const address = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = /filename="?([^";]+)/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? `audit.${format}`;
  link.click();
  URL.revokeObjectURL(address);
}
