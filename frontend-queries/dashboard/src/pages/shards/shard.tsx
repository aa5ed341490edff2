/** One shard: its record, why it is where it is, what was done to it, and what else was done with that. */
import { describeError } from "@omnirelay/mesh-queries";
import { ExplainShard, ListChanges, ShardReview } from "@omnirelay/mesh-queries/trusted";
import type { ExplainShardQuery, ShardReviewQuery } from "@omnirelay/mesh-queries/trusted";
import { useState } from "react";
import { Link } from "wouter";

import { mesh } from "../../api/live.js";
import { Refused } from "../../components/deed.js";
import { Instant } from "../../components/instant.js";
import { useStore } from "../../lib/external.js";
import { useQueryState } from "../../lib/query.js";
import { useRequest } from "../../lib/request.js";
import { useServerNow } from "../../lib/now.js";
import { amount, count, durationOf } from "../../lib/time.js";
import { text } from "../../text.js";
import { ShardActions } from "./actions.js";
import { StatusTag } from "./list.js";
import { Timeline } from "./timeline.js";
import "../../components/review.css";
import "./shards.css";

const words = text.shard;

export type ReviewedShard = NonNullable<ShardReviewQuery["shard"]>;
type ReviewedChange = NonNullable<ReviewedShard["lastChange"]>;

export function ShardView({ namespace, shardId }: { namespace: string; shardId: string }) {
  useStore(mesh);
  const [query, change] = useQueryState();
  const at = query.get("at") ?? "";
  const row = mesh.find(namespace, shardId);
  const again = row === undefined ? 0 : mesh.revision[row];
  const asOf = !at ? null : /^\d+$/.test(at) ? { revision: at } : { time: at };
  const { data, error } = useRequest(ShardReview, { namespace, shardId, asOf: asOf as never }, again);
  const shard = data?.shard ?? null;
  const name = `${namespace}/${shardId}`;
  return (
    <>
      <div className="head">
        <h1>{name}</h1>
        {shard && shard.status !== "ACTIVE" && <StatusTag status={shard.status} />}
        {shard?.pinned && <span className="tag">{words.pinned.toUpperCase()}</span>}
        {at && (
          <>
            <span className="tag moved">{words.asOf.toUpperCase()}</span>
            <span>{/^\d+$/.test(at) ? text.connection.revision(at) : <Instant at={at} as="instant" />}</span>
            <button type="button" className="button" onClick={() => change({ at: null })}>
              {words.now}
            </button>
          </>
        )}
        {shard && !at && <ShardActions shard={shard} />}
      </div>
      {error && data === null && <Refused described={describeError(error, text.failed)} />}
      {data && shard === null && <p className="lead">{at ? words.goneAt(name) : words.gone(name)}</p>}
      {shard && <Ownership shard={shard} />}
      <div className="review">
        <div>
          {shard && !at && <Why namespace={namespace} shardId={shardId} again={again} />}
          <Timeline namespace={namespace} shardId={shardId} again={again} at={at} onAt={(revision) => change({ at: revision })} />
        </div>
        <div>
          {shard && <Record shard={shard} />}
          {shard?.lastChange && <ItsChange change={shard.lastChange} />}
        </div>
      </div>
    </>
  );
}

/** Who owns it, since when, by whose decision: the answer that is most often looked for. */
function Ownership({ shard }: { shard: ReviewedShard }) {
  const now = useServerNow();
  const change = shard.ownerChange;
  return (
    <p className="lead shard-owner">
      <Link className="strong" href={`/?node=${encodeURIComponent(shard.ownerNodeId)}`}>
        {shard.ownerNodeId}
      </Link>{" "}
      {shard.ownerSince ? (
        <>
          {words.since} <Instant at={shard.ownerSince} /> <span className="quiet">({durationOf(now - Date.parse(shard.ownerSince))})</span>
        </>
      ) : (
        <span className="quiet">{words.unknownSince}</span>
      )}
      {change && (
        <>
          {`, ${words.by} ${change.actor}`}
          {change.changeTicket && ` (${change.changeTicket})`}
          {`: "${change.reason}"`}
          {change.rebalance && (
            <>
              {" "}
              <Link href={`/plans/${change.rebalance.planId}`}>{text.live.plan(change.rebalance.planId)}</Link>
            </>
          )}
          {change.forced && (
            <>
              {" "}
              <span className="tag lost" title={text.change.forcedFor(change.forced)}>
                {text.change.forced}
              </span>
            </>
          )}
        </>
      )}
    </p>
  );
}

const FIRST_CANDIDATES = 8;

function Why({ namespace, shardId, again }: { namespace: string; shardId: string; again: unknown }) {
  const { data, error } = useRequest(ExplainShard, { namespace, shardId }, again);
  const [isAll, setAll] = useState(false);
  const found = data?.explainShard;
  const shown = found === undefined ? [] : isAll ? found.candidates : closest(found);
  const heads = words.candidateColumns;
  return (
    <section aria-labelledby="why">
      <h2 id="why">{words.why}</h2>
      {error && <Refused described={describeError(error, text.failed)} />}
      {found && (
        <>
          <p className="why">{found.summary}</p>
          {found.violations.map((each) => (
            <p key={`${each.code} ${each.message}`} className="why">
              <span className="tag lost">{each.code.replaceAll("_", " ")}</span> {each.message}
            </p>
          ))}
          <div className="scroll-x" role="region" aria-label={words.candidates} tabIndex={0}>
            <table className="table flow candidates">
              <caption className="sr">{words.candidates}</caption>
              <thead>
                <tr>
                  <th className="number right" scope="col">
                    {heads.rank}
                  </th>
                  <th scope="col">{heads.node}</th>
                  <th scope="col">{heads.place}</th>
                  <th className="right" scope="col">
                    {heads.weight}
                  </th>
                  <th scope="col">{heads.obstacle}</th>
                </tr>
              </thead>
              <tbody>
                {shown.map((each) => (
                  <tr key={each.nodeId}>
                    <td className="right">{each.rank ?? "–"}</td>
                    <td className="nowrap">
                      <Link href={`/?node=${encodeURIComponent(each.nodeId)}`}>{each.nodeId}</Link>
                      {each.nodeId === found.ownerNodeId && <span className="tag here">{words.owner}</span>}
                      {each.nodeId === found.targetNodeId && each.nodeId !== found.ownerNodeId && <span className="tag moved here">{words.target}</span>}
                    </td>
                    <td className="quiet nowrap">{placeOf(each)}</td>
                    <td className="right">{count(each.weight)}</td>
                    <td className="wide">{each.obstacle ?? <span className="quiet">{words.noObstacle}</span>}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          {shown.length < found.candidates.length && (
            <button type="button" className="button plain more" onClick={() => setAll(true)}>
              {words.moreCandidates(found.candidates.length - shown.length)}
            </button>
          )}
        </>
      )}
    </section>
  );
}

/** The zone alone where its name begins with that of its region, as it does in most clouds. */
function placeOf({ region, zone }: { region: string | null; zone: string | null }): string {
  if (region && zone) return zone.startsWith(region) ? zone : `${region} / ${zone}`;
  return zone ?? region ?? "–";
}

/** The first of them, and the owner and the one that is wanted wherever they rank. */
function closest({ candidates, ownerNodeId, targetNodeId }: ExplainShardQuery["explainShard"]) {
  return candidates.filter(({ nodeId }, index) => index < FIRST_CANDIDATES || nodeId === ownerNodeId || nodeId === targetNodeId);
}

function Record({ shard }: { shard: ReviewedShard }) {
  const names = words.fields;
  return (
    <section aria-labelledby="record">
      <h2 id="record">{words.record}</h2>
      <dl className="facts">
        <dt>{names.owner}</dt>
        <dd>{shard.ownerNodeId}</dd>
        {shard.leaderId && (
          <>
            <dt>{names.leader}</dt>
            <dd>{shard.leaderId}</dd>
          </>
        )}
        <dt>{names.status}</dt>
        <dd>{text.statuses[shard.status]}</dd>
        {shard.pinned && (
          <>
            <dt>{names.pin}</dt>
            <dd>
              {words.pinBy(shard.pinned.by, shard.pinned.reason)}
              {shard.pinned.until && (
                <>
                  {` ${words.pinUntil} `}
                  <Instant at={shard.pinned.until} />
                </>
              )}
            </dd>
          </>
        )}
        <dt>{names.load}</dt>
        <dd>{amount(shard.capacityHint)}</dd>
        {shard.localityHint && (
          <>
            <dt>{names.locality}</dt>
            <dd>{shard.localityHint}</dd>
          </>
        )}
        {shard.antiAffinityGroup && (
          <>
            <dt>{names.group}</dt>
            <dd>{shard.antiAffinityGroup}</dd>
          </>
        )}
        <dt>{names.strategy}</dt>
        <dd>{shard.strategy}</dd>
        <dt>{names.version}</dt>
        <dd>{shard.version}</dd>
        <dt>{names.epoch}</dt>
        <dd>{shard.ownerEpoch}</dd>
        <dt>{names.revision}</dt>
        <dd>{text.connection.revision(shard.revision)}</dd>
        {shard.changeTicket && (
          <>
            <dt>{names.ticket}</dt>
            <dd>{shard.changeTicket}</dd>
          </>
        )}
        <dt>{names.created}</dt>
        <dd>
          <Instant at={shard.createdAt} as="instant" />
        </dd>
        <dt>{names.updated}</dt>
        <dd>
          <Instant at={shard.updatedAt} as="instant" />
        </dd>
        <dt>{names.checksum}</dt>
        <dd className="mono">{shard.checksum}</dd>
      </dl>
    </section>
  );
}

const OTHERS = 12;

/** The change that made this version, and what else was done under its ticket. */
function ItsChange({ change }: { change: ReviewedChange }) {
  const ticket = change.changeTicket;
  const { data } = useRequest(ListChanges, ticket ? { first: OTHERS + 1, filter: { changeTicket: ticket } } : null, change.id);
  const others = data?.changes.nodes.filter(({ id }) => id !== change.id).slice(0, OTHERS) ?? [];
  return (
    <>
      <section aria-labelledby="its-change">
        <h2 id="its-change">{words.change}</h2>
        <ChangeItem change={change} />
      </section>
      {ticket && data && (
        <section aria-labelledby="its-ticket">
          <h2 id="its-ticket">{words.ticketTitle(ticket)}</h2>
          {others.length === 0 ? (
            <p className="quiet">{words.ticketNothing}</p>
          ) : (
            <ul className="change-list">
              {others.map((each) => (
                <li key={each.id}>
                  <ChangeItem change={each} />
                </li>
              ))}
            </ul>
          )}
          <p className="more">
            <Link href={`/governance?tab=audit&ticket=${encodeURIComponent(ticket)}`}>{words.allOfTicket}</Link>
          </p>
        </section>
      )}
    </>
  );
}

type ListedChange = Pick<ReviewedChange, "id" | "kind" | "actor" | "reason" | "changeTicket" | "forced" | "committedAt" | "rebalance" | "shardCount">;

function ChangeItem({ change }: { change: ListedChange }) {
  return (
    <div className="change-item">
      <p>
        <Instant at={change.committedAt} /> <strong>{change.actor}</strong> <span className="quiet">{text.done[change.kind]}</span>
        {change.forced && (
          <>
            {" "}
            <span className="tag lost" title={text.change.forcedFor(change.forced)}>
              {text.change.forced}
            </span>
          </>
        )}
      </p>
      <p className="wrap-anywhere">{`"${change.reason}"`}</p>
      <p className="quiet">
        {change.shardCount > 0 && text.change.changed(change.shardCount)}
        {change.rebalance && (
          <>
            {change.shardCount > 0 && ", "}
            <Link href={`/plans/${change.rebalance.planId}`}>{text.live.plan(change.rebalance.planId)}</Link>
          </>
        )}
      </p>
    </div>
  );
}
