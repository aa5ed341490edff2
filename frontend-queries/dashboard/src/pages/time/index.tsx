/** The mesh at a moment of the past, and what differs between two. */
import { describeError } from "@omnirelay/mesh-queries";
import { DiffOwners, MeshActivity } from "@omnirelay/mesh-queries/trusted";
import { useMemo, useState } from "react";
import { Link } from "wouter";

import { connection, mesh, oldest } from "../../api/live.js";
import { Refused } from "../../components/deed.js";
import { Instant } from "../../components/instant.js";
import { VirtualList } from "../../components/virtual-list.js";
import { useStore, useValue } from "../../lib/external.js";
import { useShortcuts } from "../../lib/keys.js";
import { serverAhead, useServerNow } from "../../lib/now.js";
import { shardPath, useQueryState } from "../../lib/query.js";
import { useRequest } from "../../lib/request.js";
import { useZone } from "../../lib/settings.js";
import { count, instantOf } from "../../lib/time.js";
import { text } from "../../text.js";
import type { Difference } from "./diff.js";
import { asItWas, snapshotOf, useDifferences } from "./diff.js";
import { MapAsAt } from "./map.js";
import { DAY_MS, momentFrom, openingOf } from "./moments.js";
import type { Moment } from "./moments.js";
import { useNodesAsOf } from "./nodes.js";
import type { SteppedChange } from "./neighbours.js";
import { useNeighbours, useSteps } from "./steps.js";
import type { Step } from "./steps.js";
import "../../components/review.css";
import "./time.css";

const words = text.time;
const PARTS = 120;
const HOUR_MS = 3_600_000;
const ROW_PX = 36;
const VIEWS = ["map", "table", "list"] as const;

const iso = (at: number): string => new Date(at).toISOString();

export default function TimePage() {
  const kept = useValue(oldest);
  if (kept === null) return <p className="blank">{text.reading}</p>;
  if (kept.at === null) return <p className="blank">{words.none}</p>;
  return <TimeLine since={kept.at} />;
}

function TimeLine({ since }: { since: string }) {
  useStore(mesh);
  const zone = useZone();
  const { phase, isListed } = useValue(connection);
  const [query, change] = useQueryState();
  const namespace = query.get("ns") ?? "";
  const view = VIEWS.find((each) => each === query.get("show")) ?? "map";
  // Held still while the page is looked at; "all that is kept" and "now" take them anew.
  const [range, setRange] = useState(() => ({ from: Math.floor(Date.parse(since) / 1000) * 1000, to: Date.now() + serverAhead.get() }));
  const from = Math.min(range.from, range.to - 60_000);
  const step = (range.to - from) / PARTS;
  const initial = useMemo(() => iso(openingOf(Date.parse(since), range.to)), [since, range]);
  const a = momentFrom(query.get("at") ?? "") ?? ({ type: "time", time: initial } satisfies Moment);
  const b = momentFrom(query.get("vs") ?? "");
  const activity = useRequest(MeshActivity, { from: iso(from), to: iso(range.to), buckets: PARTS });
  const parts = activity.data?.activity ?? [];

  /** The change that a step led to: what made that revision, and when. */
  const [stepped, setStepped] = useState<SteppedChange | null>(null);
  const reached = a.type === "revision" && stepped?.lastRevision === a.revision ? stepped : null;
  const made = useRequest(
    DiffOwners,
    a.type === "revision" && Number(a.revision) > 0 && reached === null ? ({ from: String(Number(a.revision) - 1), to: a.revision, first: 1 } as never) : null,
  );
  const aTime = a.type === "time" ? a.time : ((reached ?? made.data?.shardDiff.nodes[0]?.change)?.committedAt ?? null);
  const registered = useNodesAsOf(view === "map" ? a : null);
  /** Before everything there is nothing but a next one. */
  const isZero = a.type === "revision" && Number(a.revision) === 0;
  const { neighbours, error: unread } = useNeighbours(a, isZero ? iso(Date.parse(since) - 1) : aTime, namespace);
  const isUnknown = isZero || made.error !== null || unread !== null || (made.data !== null && aTime === null);

  const held = useMemo(() => (isListed ? snapshotOf(namespace, connection.get().revision) : null), [isListed, namespace, query.get("at"), query.get("vs"), range]);
  const now: Moment | null = held && { type: "revision", revision: String(held.revision) as never };
  const differences = useDifferences(held && a, b ?? now, namespace);
  const toNow = useDifferences(b ? held && a : null, now, namespace);
  const error = differences.error ?? toNow.error ?? made.error ?? unread ?? registered.error;
  const past = b ? toNow : differences;
  /** Then there is no map: where the other shards were is not known. */
  const isCut = past.isCut || differences.isCut;
  const isCompared = differences.isComplete && past.isComplete;
  const nodes = useMemo(
    () => (view === "map" && held && past.isComplete && differences.isComplete && !isCut ? asItWas(held, past.all, differences.all) : null),
    [held, past, differences, view],
  );

  const positionOf = (moment: Moment | null): number => {
    if (moment === null) return PARTS;
    if (moment.type === "time") return Math.round((Date.parse(moment.time) - from) / step);
    const found = parts.findIndex(({ lastRevision }) => Number(lastRevision) >= Number(moment.revision));
    return found < 0 ? PARTS : found + 1;
  };
  const clamp = (value: number): number => Math.min(PARTS, Math.max(0, value));
  const [atA, atB] = [clamp(positionOf(a)), clamp(positionOf(b))];
  const goTo = (position: number): string => iso(Math.max(Date.parse(since) + 1, from + position * step));
  const towards = (step: Step): SteppedChange | null | undefined => (step === "next" ? neighbours?.next : neighbours?.before) ?? (neighbours || isUnknown ? null : undefined);
  const targetOf = (step: Step): string | null | undefined => {
    if (step === "next" || step === "previous") {
      const target = towards(step);
      return target ? target.lastRevision : target;
    }
    if (aTime === null) return isUnknown ? null : undefined;
    return iso(Math.min(range.to, Math.max(Date.parse(since) + 1, Date.parse(aTime) + (step === "dayAfter" ? DAY_MS : -DAY_MS))));
  };
  const steps = useSteps(query.get("at") ?? "", targetOf, (target) => {
    setStepped([neighbours?.next, neighbours?.before].find((each) => each?.lastRevision === target) ?? null);
    change({ at: target });
  });
  const press = (step: Step) => (event: KeyboardEvent) => steps.press(step, event.repeat);
  useShortcuts({ "[": press("previous"), "]": press("next"), "{": press("dayBefore"), "}": press("dayAfter") });
  /** Whether it is known that there is none: a press before that waits. */
  const isLast = (step: Step): boolean => !steps.isWaiting && towards(step) === null;
  const latest = neighbours?.latest;
  const most = Math.max(1, ...parts.map(({ shardChanges }) => shardChanges));
  const label = (moment: Moment): string =>
    moment.type === "time" ? instantOf(moment.time, zone) : `${text.connection.revision(moment.revision)}${aTime && moment === a ? `, ${instantOf(aTime, zone)}` : ""}`;

  return (
    <>
      <h1 className="sr">{words.heading}</h1>
      <div className="strip">
        <div className="strip-bars" role="img" aria-label={words.activity(instantOf(iso(from), zone), instantOf(iso(range.to), zone))}>
          {parts.map((part, index) => (
            <span
              key={part.begins}
              className={index >= atA && index < atB ? "between" : ""}
              title={part.shardChanges > 0 ? words.bar(instantOf(part.begins, zone), part.shardChanges) : undefined}
              style={{ height: part.shardChanges > 0 ? `${Math.max(6, 100 * Math.sqrt(part.shardChanges / most))}%` : 0 }}
            />
          ))}
        </div>
        <div className="thumbs">
          {([["a", atA, a], ["b", atB, b]] as const).map(([name, position, moment]) => (
            <label key={name} className={`thumb ${name}`}>
              <span>{words[name]}</span>
              <input
                type="range"
                min={0}
                max={PARTS}
                value={position}
                aria-label={name === "a" ? words.aLabel : words.bLabel}
                aria-valuetext={moment === null ? words.now : label(moment)}
                onChange={({ currentTarget: { valueAsNumber: value } }) => {
                  if (name === "a") change({ at: goTo(Math.min(value, PARTS)) });
                  else change({ vs: value >= PARTS ? null : goTo(value) });
                }}
              />
            </label>
          ))}
        </div>
        <p className="strip-ends quiet">
          <span>{words.compacted(instantOf(since, zone))}</span>
          <span>{words.now}</span>
        </p>
      </div>

      <div className="moments">
        <MomentField key={`a ${query.get("at")}`} name={words.a} label={words.aLabel} shown={label(a)} onGo={(written) => change({ at: written })} />
        <div className="steps" aria-busy={steps.isWaiting}>
          <button type="button" className="button" title={words.previousTitle} disabled={isLast("previous")} onClick={() => steps.press("previous")}>
            {words.previous}
          </button>
          <button type="button" className="button" title={words.nextTitle} disabled={isLast("next")} onClick={() => steps.press("next")}>
            {words.next}
          </button>
          <Ago since={since} milliseconds={HOUR_MS} label={words.hourAgo} onGo={(at) => change({ at })} />
          <Ago since={since} milliseconds={DAY_MS} label={words.dayAgo} onGo={(at) => change({ at })} />
        </div>
        <span className="grow" />
        <MomentField key={`b ${query.get("vs")}`} name={words.b} label={words.bLabel} shown={b ? label(b) : words.now} onGo={(written) => change({ vs: written })} />
        {(b !== null || phase === "live") && (
          <button
            type="button"
            className="button"
            onClick={() => {
              change({ vs: null });
              setRange({ from: range.from, to: Date.now() + serverAhead.get() });
            }}
          >
            {words.toNow}
          </button>
        )}
      </div>
      {latest && (
        <p className="latest wrap-anywhere">
          <span className="quiet">{words.madeBy}</span> <Instant at={latest.committedAt} as="instant" />{" "}
          {latest.lastRevision && <span className="quiet">{text.connection.revision(latest.lastRevision)}</span>} <strong>{latest.actor}</strong>{" "}
          {latest.changeTicket && <span className="quiet">{latest.changeTicket}</span>} {`"${latest.reason}"`}{" "}
          <span className="quiet">{text.change.changed(latest.shardCount)}</span>
        </p>
      )}

      <div className="filters time-filters">
        <label>
          <span className="name">{text.filters.namespace}</span>
          <select className="select" value={namespace} onChange={(event) => change({ ns: event.target.value })}>
            <option value="">{text.filters.all}</option>
            {[...mesh.namespaces.keys()].map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
        <span className="views" role="group" aria-label={words.show}>
          {VIEWS.map((each) => (
            <button key={each} type="button" className="button" aria-pressed={view === each} onClick={() => change({ show: each === "map" ? null : each })}>
              {words.views[each]}
            </button>
          ))}
        </span>
        <span className="grow" />
        <Counts all={differences.all} isComplete={differences.isComplete && error === null} isCut={differences.isCut} />
      </div>
      {isCut && <Narrow all={(differences.isCut ? differences : past).all} namespace={namespace} onNamespace={(name) => change({ ns: name })} />}
      {error && <Refused described={describeError(error, text.failed)} />}
      {!error && (!isCompared || (nodes && !registered.nodes)) && <p className="blank">{words.comparing}</p>}
      {nodes && registered.nodes && (
        <>
          <MapAsAt nodes={nodes} registered={registered.nodes} />
          <p className="quiet hint">{words.mapHint}</p>
        </>
      )}
      {isCompared && view === "table" && <Matrix all={differences.all} />}
      {isCompared && view === "list" && <DifferenceList all={differences.all} />}
    </>
  );
}

/** To a moment so long ago; disabled where history does not reach back to it. */
function Ago({ since, milliseconds, label, onGo }: { since: string; milliseconds: number; label: string; onGo(at: string): void }) {
  const at = useServerNow() - milliseconds;
  const isKept = at > Date.parse(since);
  return (
    <button type="button" className="button" disabled={!isKept} title={isKept ? undefined : words.notKept} onClick={() => onGo(iso(at))}>
      {label}
    </button>
  );
}

function MomentField({ name, label, shown, onGo }: { name: string; label: string; shown: string; onGo(written: string): void }) {
  const [written, setWritten] = useState(shown);
  const [isEdited, setEdited] = useState(false);
  const isWrong = isEdited && momentFrom(written) === null;
  return (
    <form
      className="moment"
      onSubmit={(event) => {
        event.preventDefault();
        const moment = momentFrom(written);
        if (moment !== null) onGo(moment.type === "revision" ? moment.revision : moment.time);
      }}
    >
      <label>
        <strong>{name}</strong>
        <input
          className="input"
          aria-label={`${label}: ${words.field}`}
          aria-invalid={isWrong}
          title={isWrong ? words.notATime : words.fieldHint}
          value={isEdited ? written : shown}
          onFocus={(event) => event.currentTarget.select()}
          onChange={(event) => {
            setEdited(true);
            setWritten(event.target.value);
          }}
        />
      </label>
    </form>
  );
}

const kindOf = ({ previous, current }: Difference): "created" | "deleted" | "moved" | "changed" =>
  previous === null ? "created" : current === null ? "deleted" : previous.ownerNodeId !== current.ownerNodeId ? "moved" : "changed";

function Counts({ all, isComplete, isCut }: { all: readonly Difference[]; isComplete: boolean; isCut: boolean }) {
  if (!isComplete) return null;
  const counts = { moved: 0, created: 0, deleted: 0, changed: 0 };
  for (const each of all) counts[kindOf(each)] += 1;
  const found = (["moved", "created", "deleted", "changed"] as const).filter((kind) => counts[kind] > 0);
  return (
    <span role="status" className="strong">
      {found.length === 0 ? words.same : `${isCut ? words.atLeast : ""}${found.map((kind) => words[kind](counts[kind])).join(", ")}`}
    </span>
  );
}

/** There are more differences than are read: which these are, and how there would be fewer. */
function Narrow({ all, namespace, onNamespace }: { all: readonly Difference[]; namespace: string; onNamespace(name: string): void }) {
  const last = all.at(-1);
  if (last === undefined) return null;
  return (
    <div className="verdict blocked" role="status">
      <p>
        <strong>{words.partly(all.length, `${last.namespace}/${last.shardId}`)}</strong> {namespace ? words.nearer : words.narrow}
      </p>
      {!namespace && (
        <p className="actions">
          {[...mesh.namespaces.keys()].slice(0, 12).map((name) => (
            <button key={name} type="button" className="button" onClick={() => onNamespace(name)}>
              {words.only(name)}
            </button>
          ))}
        </p>
      )}
    </div>
  );
}

/** From which node to which, of shards that were at both moments. */
function Matrix({ all }: { all: readonly Difference[] }) {
  const moved = all.filter((each) => kindOf(each) === "moved");
  const flows = new Map<string, number>();
  const names = new Set<string>();
  for (const { previous, current } of moved) {
    const [from, to] = [previous?.ownerNodeId ?? "", current?.ownerNodeId ?? ""];
    names.add(from).add(to);
    for (const key of [`${from} ${to}`, `${from} `, ` ${to}`]) flows.set(key, (flows.get(key) ?? 0) + 1);
  }
  const nodes = [...names].sort();
  if (nodes.length === 0) return <p className="blank">{words.noMoves}</p>;
  const most = Math.max(...nodes.flatMap((from) => nodes.map((to) => flows.get(`${from} ${to}`) ?? 0)));
  return (
    <div className="scroll-x" role="region" aria-label={words.matrix} tabIndex={0}>
      <table className="table matrix">
        <caption className="sr">{words.matrix}</caption>
        <thead>
          <tr>
            <th scope="col">{words.matrixCorner}</th>
            {nodes.map((to) => (
              <th key={to} scope="col" className="right">
                {to}
              </th>
            ))}
            <th scope="col" className="right">
              {words.total}
            </th>
          </tr>
        </thead>
        <tbody>
          {nodes.map((from) => (
            <tr key={from}>
              <th scope="row">{from}</th>
              {nodes.map((to) => {
                const value = flows.get(`${from} ${to}`) ?? 0;
                return (
                  <td key={to} className="right">
                    {value > 0 && (
                      <>
                        <span>{count(value)}</span>
                        <span className="cell-bar" style={{ width: `${(100 * value) / most}%` }} aria-hidden="true" />
                      </>
                    )}
                    {from === to && <span className="quiet">–</span>}
                  </td>
                );
              })}
              <td className="right strong">{count(flows.get(`${from} `) ?? 0)}</td>
            </tr>
          ))}
          <tr>
            <th scope="row">{words.total}</th>
            {nodes.map((to) => (
              <td key={to} className="right strong">
                {count(flows.get(` ${to}`) ?? 0)}
              </td>
            ))}
            <td className="right strong">{count(moved.length)}</td>
          </tr>
        </tbody>
      </table>
    </div>
  );
}

function DifferenceList({ all }: { all: readonly Difference[] }) {
  const heads = words.columns;
  if (all.length === 0) return <p className="blank">{words.same}</p>;
  return (
    <div className="panel">
      <div className="diff-row diff-heads" aria-hidden="true">
        <span>{heads.shard}</span>
        <span>{heads.a}</span>
        <span>{heads.b}</span>
        <span className="by">{heads.by}</span>
        <span className="why">{heads.why}</span>
      </div>
      <div className="diff-box" style={{ height: Math.min(16, all.length) * ROW_PX + 2 }}>
        <VirtualList
          className="diff-rows"
          count={all.length}
          rowHeight={ROW_PX}
          role="region"
          label={words.rows}
          keyOf={(index) => `${all[index]?.namespace}/${all[index]?.shardId}`}
          row={(index) => {
            const each = all[index] as Difference;
            const { previous, current } = each;
            const isMove = kindOf(each) !== "changed";
            return (
              <div className="diff-row">
                <Link className="cut" href={shardPath(each.namespace, each.shardId)}>
                  {each.namespace}/{each.shardId}
                </Link>
                <span className="cut">{previous ? previous.ownerNodeId : <span className="quiet">{words.notThere}</span>}</span>
                <span className="cut">
                  {isMove ? (current ? current.ownerNodeId : <span className="quiet">{words.notThere}</span>) : <span className="quiet">{text.shard.fieldsChanged(each.changedFields.join(", "))}</span>}
                </span>
                <span className="by cut">{text.change.by(each.change.actor, each.change.changeTicket)}</span>
                <span className="why cut quiet" title={each.change.reason}>
                  {`"${each.change.reason}"`}
                </span>
              </div>
            );
          }}
        />
      </div>
    </div>
  );
}
