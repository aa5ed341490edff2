/** A plan: whether it can be applied, what it moves, in which waves, and what was done with it. */
import { describeError, describeRefusal, fromUnknown } from "@omnirelay/mesh-queries";
import type { MeshError, RefusalLike } from "@omnirelay/mesh-queries";
import { PlanMoves, PlanPreflight, PlanReview, PlanWaves } from "@omnirelay/mesh-queries/trusted";
import type { PlanMovesQuery, PlanPreflightQuery, PlanReviewQuery, PlanWavesQuery } from "@omnirelay/mesh-queries/trusted";
import { useEffect, useMemo, useState } from "react";
import { Link } from "wouter";

import { mesh } from "../../api/live.js";
import { transport } from "../../api/client.js";
import { Refused } from "../../components/deed.js";
import { Instant } from "../../components/instant.js";
import { VirtualList } from "../../components/virtual-list.js";
import { useStore } from "../../lib/external.js";
import { useServerNow } from "../../lib/now.js";
import { shardPath, useQueryState } from "../../lib/query.js";
import { useRequest } from "../../lib/request.js";
import type { Answer } from "../../lib/request.js";
import { amount, count, durationOf } from "../../lib/time.js";
import { text } from "../../text.js";
import { PlanActions, RollBackWave } from "./actions.js";
import { PlanTag, Progress, usePlanChanges } from "./list.js";
import { Flows, Loads, Problems } from "./parts.js";

const words = text.plans;
const ROW_PX = 36;
const MOST_ROWS = 12;
const MOVES_A_PAGE = 500;
const WAVES_SHOWN = 12;
const MOST_MOVES = 10_000;

export type ReviewedPlan = NonNullable<PlanReviewQuery["rebalancePlan"]>;
type PlannedMove = NonNullable<PlanMovesQuery["rebalancePlan"]>["proposal"]["moves"]["nodes"][number];

const isOpen = ({ status }: ReviewedPlan): boolean => ["PROPOSED", "APPROVED", "APPLYING", "STOPPED"].includes(status);

export function PlanView({ id }: { id: string }) {
  useStore(mesh);
  const [acted, setActed] = useState(0);
  const [query, change] = useQueryState();
  const again = `${usePlanChanges(id)} ${acted}`;
  const { data, error } = useRequest(PlanReview, { id }, again);
  const plan = data?.rebalancePlan ?? null;
  const { moves, error: unreadMoves } = useMoves(plan?.id ?? null);
  const limit = Math.min(MOST_MOVES, Math.max(0, Math.trunc(Number(query.get("wave") ?? 0) || 0)));
  // Read again where a policy of its namespaces is another.
  const policies = plan?.namespaces.map((name) => mesh.namespaces.get(name)?.version).join() ?? "";
  const upcoming = useRequest(PlanWaves, plan && isOpen(plan) ? { id, maxMoves: limit || null, first: WAVES_SHOWN } : null, `${again} ${policies} ${plan?.movesMade}`);
  const cut = upcoming.data?.rebalancePlan;
  /** Null before they are known, as after each wave. */
  const waves = plan && cut && cut.movesMade === plan.movesMade ? cut.upcomingWaves : null;
  const made = useMemo(() => (plan ? madeWaves(plan) : []), [plan]);

  const left = plan === null ? 0 : plan.moveCount - plan.movesMade;
  const next = waves?.[0]?.moveCount ?? 0;
  // What the button says; null, all at once, where that keeps to every budget.
  const maxMoves = next < left ? Math.max(1, next) : null;
  const preflight = useRequest(
    PlanPreflight,
    plan && waves && isOpen(plan)
      ? { id, maxMoves, changeTicket: plan.created.changeTicket, resume: plan.status === "STOPPED" }
      : null,
    `${again} ${policies}`,
  );

  if (error && data === null) return <Refused described={describeError(error, text.failed)} />;
  if (data === null) return <p className="blank">{text.reading}</p>;
  if (plan === null) {
    return (
      <div className="blank">
        <p>{words.notFound}</p>
        <Link href="/plans" className="button">
          {words.toList}
        </Link>
      </div>
    );
  }
  return (
    <>
      <div className="head">
        <h1 title={plan.id}>{words.title(plan.id)}</h1>
        <PlanTag status={plan.status} />
        <code className="plan-id" title={words.idTitle}>
          {plan.id}
        </code>
        <PlanActions
          plan={plan}
          next={next}
          unread={upcoming.error}
          block={blockOf(preflight)}
          maxMoves={maxMoves}
          onActed={() => setActed((before) => before + 1)}
        />
      </div>
      {upcoming.error && <Refused described={describeError(upcoming.error, text.failed)} />}
      {unreadMoves && <Refused described={describeError(unreadMoves, text.failed)} />}
      <Summary plan={plan} />
      <Verdict plan={plan} next={next} maxMoves={maxMoves} preflight={preflight} />
      <div className="review plan">
        <div>
          <Flows
            flows={plan.proposal.flows}
            from={query.get("from") ?? ""}
            to={query.get("to") ?? ""}
            onChoose={(from, to) => change({ from, to })}
          />
          <Moves plan={plan} moves={moves} made={made} />
          <Problems title={words.leftAsIs} violations={plan.proposal.violations} />
          <Conflicts plan={plan} />
        </div>
        <div>
          <Waves plan={plan} made={made} waves={waves ?? []} limit={limit} onLimit={(value) => change({ wave: value })} />
          <Loads loads={plan.proposal.loads} />
          <History plan={plan} />
        </div>
      </div>
    </>
  );
}

/** All moves, page by page; their content never changes. */
function useMoves(id: string | null): { moves: readonly PlannedMove[]; error: MeshError | null } {
  const [moves, setMoves] = useState<readonly PlannedMove[]>([]);
  const [error, setError] = useState<MeshError | null>(null);
  useEffect(() => {
    if (id === null) return;
    const controller = new AbortController();
    void (async () => {
      const all: PlannedMove[] = [];
      for (let after: string | null = null; ; ) {
        const page: Awaited<ReturnType<typeof read>> = await read(id, after, controller.signal);
        if (page === undefined || controller.signal.aborted) return;
        all.push(...page.nodes);
        setMoves([...all]);
        if (!page.pageInfo.hasNextPage) return;
        after = page.pageInfo.endCursor ?? null;
      }
    })().catch((cause: unknown) => {
      if (!controller.signal.aborted) setError(fromUnknown(cause));
    });
    return () => controller.abort();
  }, [id]);
  return { moves, error };
}

const read = async (id: string, after: string | null, signal: AbortSignal) =>
  (await transport.request(PlanMoves, { id, first: MOVES_A_PAGE, after }, signal)).rebalancePlan?.proposal.moves;

export interface MadeWave {
  readonly id: string;
  readonly moved: number;
  readonly actor: string;
  readonly at: string;
}

/** The oldest first. */
function madeWaves(plan: ReviewedPlan): MadeWave[] {
  return plan.changes.nodes
    .filter(({ kind, rebalance }) => kind === "APPLY_PLAN" && rebalance !== null)
    .map(({ id, rebalance, actor, committedAt }) => ({ id, moved: rebalance?.moved ?? 0, actor, at: committedAt }))
    .reverse();
}

function Summary({ plan }: { plan: ReviewedPlan }) {
  const now = useServerNow();
  const left = Date.parse(plan.expiresAt) - now;
  const { scope, rollback } = plan.proposal;
  return (
    <div className="lead plan-lead">
      <p>
        <strong>{words.verdict(plan.moveCount, plan.shardCount, amount(plan.movedPercent))}</strong>
        {`. ${words.proposedBy} `}
        {text.change.by(plan.created.actor, plan.created.changeTicket)} <Instant at={plan.created.committedAt} />
        {`: "${plan.created.reason}"`}
        {(plan.status === "PROPOSED" || plan.status === "APPROVED") && <span className="quiet">{`, ${left > 0 ? words.expiresIn(durationOf(left)) : words.expired}`}</span>}
      </p>
      {plan.approved && (
        <p>
          {`${words.approved} `}
          {text.change.by(plan.approved.actor, plan.approved.changeTicket)} <Instant at={plan.approved.committedAt} />
          {`: "${plan.approved.reason}"`}
        </p>
      )}
      {scope && scope.vacate.length > 0 && <p className="quiet">{words.scope(scope.vacate.join(", "))}</p>}
      {rollback && (
        <p className="quiet">
          {[words.rollbackOf, rollback.changeId && `${text.filters.kind} ${rollback.changeId}`, rollback.changeTicket, rollback.namespace].filter(Boolean).join(", ")}
        </p>
      )}
    </div>
  );
}

type Preflight = Answer<PlanPreflightQuery>;

/** Whether it cannot be applied now, under whichever ticket; and whether it can if it is forced. Unknown is blocked. */
function blockOf({ data, error }: Preflight): "none" | "forcible" | "blocked" {
  const refusal = data?.planPreflight;
  if (!refusal) return data === null && error === null ? "blocked" : "none";
  const isAboutTicket = refusal.__typename === "PolicyViolation" && refusal.violations.every(({ rule }) => rule === "TICKET_REQUIRED" || rule === "TICKET_PATTERN");
  if (isAboutTicket) return "none";
  return describeRefusal(refusal as RefusalLike).canForce ? "forcible" : "blocked";
}

/** What keeps it from being applied now, before anything is pressed. */
function Verdict({ plan, next, maxMoves, preflight }: { plan: ReviewedPlan; next: number; maxMoves: number | null; preflight: Preflight }) {
  const { data, error } = preflight;
  if (!isOpen(plan)) {
    const by = plan.status === "APPLIED" ? plan.applied : plan.latest;
    return (
      <p className="verdict done">
        {words.outcome[plan.status as keyof typeof words.outcome]}
        {plan.status !== "EXPIRED" && by && (
          <>
            {` ${text.shard.by} ${text.change.by(by.actor, by.changeTicket)} `}
            <Instant at={by.committedAt} />
            {`: "${by.reason}"`}
          </>
        )}
      </p>
    );
  }
  if (error && data === null) return <Refused described={describeError(error, words.verb)} />;
  if (data === null) return <p className="verdict quiet">{words.checking}</p>;
  if (data.planPreflight === null) {
    return <p className="verdict clear">{maxMoves === null ? words.clearAll(next || plan.moveCount - plan.movesMade) : words.clear(next)}</p>;
  }
  const { sentence, remedy, details } = describeRefusal(data.planPreflight as RefusalLike, words.verb);
  return (
    <div className="verdict blocked">
      <p>
        <span className="tag lost">{words.blocked.toUpperCase()}</span> <strong>{sentence}</strong> {remedy}
      </p>
      {details.length > 1 && (
        <ul>
          {details.map((each) => (
            <li key={each}>{each}</li>
          ))}
        </ul>
      )}
    </div>
  );
}

type UpcomingWave = NonNullable<PlanWavesQuery["rebalancePlan"]>["upcomingWaves"][number];

function Waves(props: { plan: ReviewedPlan; made: readonly MadeWave[]; waves: readonly UpcomingWave[]; limit: number; onLimit(value: string): void }) {
  const { plan, made, waves, limit, onLimit } = props;
  const last = waves.at(-1);
  const later = last ? plan.moveCount - last.firstMove - last.moveCount : 0;
  return (
    <section aria-labelledby="waves">
      <div className="section-head">
        <h2 id="waves">{words.waves}</h2>
        <Progress made={plan.movesMade} of={plan.moveCount} />
      </div>
      <ol className="waves">
        {made.map((wave, index) => (
          <li key={wave.id}>
            <span>{words.wave(index + 1)}</span>
            <span className="right">{count(wave.moved)}</span>
            <span className="quiet">
              {words.waveMade} <Instant at={wave.at} /> {text.shard.by} {wave.actor}
            </span>
            <RollBackWave change={wave.id} moved={wave.moved} />
          </li>
        ))}
        {waves.map(({ firstMove, moveCount }, index) => (
          <li key={`left ${firstMove}`}>
            <span>{words.wave(made.length + index + 1)}</span>
            <span className="right">{count(moveCount)}</span>
            <span className={index === 0 ? "strong" : "quiet"}>{index === 0 ? words.waveNext : words.waveWaits(made.length + index)}</span>
          </li>
        ))}
      </ol>
      {later > 0 && <p className="quiet">{words.moreWaves(later)}</p>}
      {isOpen(plan) && (
        <label className="wave-limit">
          <span>{words.waveLimit}</span>
          <input className="input" type="number" min={1} max={MOST_MOVES} value={limit || ""} onChange={(event) => onLimit(event.target.value)} />
          <small className="quiet">{words.waveLimitHint}</small>
        </label>
      )}
    </section>
  );
}

function Moves({ plan, moves, made }: { plan: ReviewedPlan; moves: readonly PlannedMove[]; made: readonly MadeWave[] }) {
  const [query, change] = useQueryState();
  const [from, to, namespace] = [query.get("from") ?? "", query.get("to") ?? "", query.get("ns") ?? ""];
  const shown = useMemo(
    () =>
      moves.map((move, number) => ({ ...move, number })).filter(
        (move) => (!from || move.fromNodeId === from) && (!to || move.toNodeId === to) && (!namespace || move.namespace === namespace),
      ),
    [moves, from, to, namespace],
  );
  const reasons = useMemo(() => [...new Set(moves.map(({ reason }) => reason))].sort(), [moves]);
  const heads = words.moveColumns;
  if (plan.moveCount === 0) return null;
  return (
    <section aria-labelledby="moves">
      <div className="section-head">
        <h2 id="moves">{words.list}</h2>
        <span className="quiet">{words.listed(shown.length, plan.moveCount)}</span>
      </div>
      {(from || to || plan.namespaces.length > 1) && (
        <div className="filters move-filters">
          {plan.namespaces.length > 1 && (
            <label>
              <span className="name">{text.filters.namespace}</span>
              <select className="select" value={namespace} onChange={(event) => change({ ns: event.target.value })}>
                <option value="">{text.filters.all}</option>
                {plan.namespaces.map((each) => (
                  <option key={each}>{each}</option>
                ))}
              </select>
            </label>
          )}
          {(from || to) && (
            <button type="button" className="button" onClick={() => change({ from: null, to: null })}>
              {`${from} → ${to}: ${text.filters.clear.toLowerCase()}`}
            </button>
          )}
        </div>
      )}
      <div className="panel">
        <div className="move-row move-heads" aria-hidden="true">
          <span>{heads.shard}</span>
          <span>{heads.from}</span>
          <span>{heads.to}</span>
          <span>{heads.why}</span>
        </div>
        <div className="move-box" style={{ height: Math.min(MOST_ROWS, Math.max(1, shown.length)) * ROW_PX + 2 }}>
          <VirtualList
            className="move-rows"
            count={shown.length}
            rowHeight={ROW_PX}
            label={words.rows}
            role="region"
            keyOf={(index) => `${shown[index]?.namespace}/${shown[index]?.shardId}`}
            row={(index) => {
              const move = shown[index] as PlannedMove & { number: number };
              const wave = move.number < plan.movesMade ? waveOf(made, move.number) : 0;
              const isLeader = move.fromNodeId === move.toNodeId;
              return (
                <div className="move-row">
                  <Link className="cut" href={shardPath(move.namespace, move.shardId)}>
                    <span className="wide">{move.namespace}/</span>
                    {move.shardId}
                  </Link>
                  <span className="cut">{move.fromNodeId}</span>
                  <span className="cut">{isLeader ? words.stays : move.toNodeId}</span>
                  <span className="cut quiet" title={text.shard.moveReasons[move.reason]}>
                    {wave > 0 && <strong>{`${words.madeIn(wave)} `}</strong>}
                    {text.shard.moveReason(move.reason)}
                    {move.leader && `, ${words.leader(move.leader.fromNodeId ?? text.none, move.leader.toNodeId ?? text.none)}`}
                  </span>
                </div>
              );
            }}
          />
        </div>
      </div>
      {reasons.map((reason) => (
        <p key={reason} className="quiet hint">
          <strong>{text.shard.moveReason(reason)}</strong>
          {`: ${text.shard.moveReasons[reason]}`}
        </p>
      ))}
    </section>
  );
}

/** Which of the waves that were made has a move, from 1; 0 where that is not known. */
function waveOf(made: readonly MadeWave[], move: number): number {
  let before = 0;
  return made.findIndex(({ moved }) => move < (before += moved)) + 1;
}

function Conflicts({ plan }: { plan: ReviewedPlan }) {
  const rollback = plan.proposal.rollback;
  if (!rollback || rollback.conflicts.length === 0) return null;
  return (
    <section aria-labelledby="conflicts">
      <h2 id="conflicts">{words.conflicts(rollback.conflicts.length + rollback.omittedConflicts)}</h2>
      <ul className="problems">
        {rollback.conflicts.slice(0, 50).map((each) => (
          <li key={`${each.namespace}/${each.shardId}`}>
            <Link href={shardPath(each.namespace, each.shardId)}>{`${each.namespace}/${each.shardId}`}</Link> {each.message}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** What was done with it, by whom and why, the newest first. */
function History({ plan }: { plan: ReviewedPlan }) {
  return (
    <section aria-labelledby="life">
      <h2 id="life">{words.history}</h2>
      <ol className="life">
        {plan.changes.nodes.map((each) => (
          <li key={each.id}>
            <p>
              <Instant at={each.committedAt} /> <strong>{each.actor}</strong> <span className="quiet">{text.done[each.kind]}</span>
              {each.kind === "APPLY_PLAN" && each.rebalance && ` ${count(each.rebalance.moved)}`}
              {each.forced && (
                <>
                  {" "}
                  <span className="tag lost" title={text.change.forcedFor(each.forced)}>
                    {text.change.forced}
                  </span>
                </>
              )}
            </p>
            <p className="wrap-anywhere">
              {`"${each.reason}"`}
              {each.changeTicket && <span className="quiet"> {each.changeTicket}</span>}
            </p>
          </li>
        ))}
      </ol>
    </section>
  );
}
