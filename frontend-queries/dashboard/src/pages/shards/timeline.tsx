/** What was done to a shard, the newest first: each change opens to the shard before and after. Idle time is shown as such. */
import { describeError } from "@omnirelay/mesh-queries";
import { ShardHistory } from "@omnirelay/mesh-queries/trusted";
import type { ShardHistoryQuery } from "@omnirelay/mesh-queries/trusted";
import { useState } from "react";
import { Link } from "wouter";

import { Refused } from "../../components/deed.js";
import { Instant } from "../../components/instant.js";
import { Pager } from "../../components/pager.js";
import { usePages } from "../../lib/pages.js";
import { amount, durationOf } from "../../lib/time.js";
import { text } from "../../text.js";

const words = text.shard;
const PAGE = 20;
const GAP_MS = 3_600_000;

type Row = ShardHistoryQuery["shardHistory"]["nodes"][number];

export function Timeline(props: { namespace: string; shardId: string; again: unknown; at: string; onAt(revision: string | null): void }) {
  const { namespace, shardId, again, at, onAt } = props;
  const pages = usePages(ShardHistory, { filter: { namespace, shardId } }, PAGE, ({ shardHistory }) => shardHistory, again);
  const [opened, setOpened] = useState<string | null>(null);
  const rows = pages.rows ?? [];
  const open = opened ?? rows[0]?.revision;

  return (
    <section aria-labelledby="timeline">
      <h2 id="timeline">{words.timeline}</h2>
      {pages.error && <Refused described={describeError(pages.error, text.failed)} />}
      {pages.rows?.length === 0 && <p className="quiet">{words.timelineEmpty}</p>}
      <ol className="timeline">
        {rows.map((row, index) => {
          const newer = rows[index - 1];
          const idle = newer ? Date.parse(newer.change.committedAt) - Date.parse(row.change.committedAt) : 0;
          const isOpen = open === row.revision;
          const isMove = row.previous !== null && row.current !== null && row.previous.ownerNodeId !== row.current.ownerNodeId;
          return (
            <li key={row.revision} className={`event ${isMove || row.kind !== "UPDATED" ? "major" : ""} ${at === row.revision ? "at" : ""}`}>
              {idle > GAP_MS && <p className="idle quiet">{text.live.gap(durationOf(idle))}</p>}
              <div className="event-head">
                <span className="when">
                  <Instant at={row.change.committedAt} as="instant" />
                </span>
                <button type="button" className="what" aria-expanded={isOpen} onClick={() => setOpened(isOpen ? "" : row.revision)}>
                  {whatOf(row)}
                </button>
                <span className="quiet rev">{text.connection.revision(row.revision)}</span>
              </div>
              <p className="event-why wrap-anywhere">
                <strong>{row.change.actor}</strong>
                {row.change.changeTicket && <span className="quiet"> {row.change.changeTicket}</span>} {`"${row.change.reason}"`}
                {row.moveReason && <span className="quiet" title={words.moveReasons[row.moveReason]}> ({words.moveReason(row.moveReason)})</span>}
                {row.change.rebalance && (
                  <>
                    {" "}
                    <Link href={`/plans/${row.change.rebalance.planId}`}>{text.live.plan(row.change.rebalance.planId)}</Link>
                  </>
                )}
                {row.change.forced && (
                  <>
                    {" "}
                    <span className="tag lost" title={text.change.forcedFor(row.change.forced)}>
                      {text.change.forced}
                    </span>
                  </>
                )}
              </p>
              {isOpen && <BeforeAfter row={row} isAt={at === row.revision} onAt={onAt} />}
            </li>
          );
        })}
      </ol>
      {!pages.hasOlder && rows.length > 0 && <p className="quiet timeline-end">{words.oldest}</p>}
      <Pager pages={pages} />
    </section>
  );
}

function whatOf(row: Row): string {
  if (row.previous === null) return `${words.created}: ${row.current?.ownerNodeId ?? ""}`;
  if (row.current === null) return `${words.deleted}: ${row.previous.ownerNodeId}`;
  if (row.previous.ownerNodeId !== row.current.ownerNodeId) return words.moved(row.previous.ownerNodeId, row.current.ownerNodeId);
  return words.fieldsChanged(row.changedFields.join(", "));
}

type State = NonNullable<Row["current"]>;

const FIELDS: readonly (readonly [string, (state: State) => string])[] = [
  [words.fields.owner, (state) => state.ownerNodeId],
  [words.fields.leader, (state) => state.leaderId ?? ""],
  [words.fields.status, (state) => text.statuses[state.status]],
  [words.fields.pin, (state) => (state.pinned ? words.pinBy(state.pinned.by, state.pinned.reason) : "")],
  [words.fields.load, (state) => amount(state.capacityHint)],
  [words.fields.locality, (state) => state.localityHint ?? ""],
  [words.fields.group, (state) => state.antiAffinityGroup ?? ""],
  [words.fields.strategy, (state) => state.strategy],
  [words.fields.ticket, (state) => state.changeTicket ?? ""],
  [words.fields.version, (state) => state.version],
  [words.fields.epoch, (state) => state.ownerEpoch],
];

function BeforeAfter({ row, isAt, onAt }: { row: Row; isAt: boolean; onAt(revision: string | null): void }) {
  const shown = FIELDS.map(([name, read]) => ({
    name,
    before: row.previous ? read(row.previous) : "",
    after: row.current ? read(row.current) : "",
  })).filter(({ before, after }) => before || after);
  return (
    <div className="before-after">
      <table className="table">
        <thead>
          <tr>
            <td />
            <th scope="col">{words.before}</th>
            <th scope="col">{words.after}</th>
          </tr>
        </thead>
        <tbody>
          {shown.map(({ name, before, after }) => (
            <tr key={name} className={before === after ? "same" : "differs"}>
              <th scope="row">{name}</th>
              <td>{before || "–"}</td>
              <td>{after || "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p className="event-links">
        {!isAt && (
          <button type="button" className="link" onClick={() => onAt(row.revision)}>
            {words.asOf}
          </button>
        )}
        <Link href={`/time?at=${row.revision}`}>{words.onTime}</Link>
      </p>
    </div>
  );
}
