/** Every change as it is committed, the newest first. Scrolling away from the newest is a pause; nothing is lost by one. */
import { ShardHistory } from "@omnirelay/mesh-queries/trusted";
import { useEffect, useMemo, useRef, useState } from "react";

import { changeLog, connection, mesh, ofHistory, rate } from "../../api/live.js";
import { transport } from "../../api/client.js";
import { stateOf } from "../../components/position.js";
import { VirtualList } from "../../components/virtual-list.js";
import { useStore, useValue } from "../../lib/external.js";
import { useShortcuts } from "../../lib/keys.js";
import { useNow, useServerNow } from "../../lib/now.js";
import { useQueryState } from "../../lib/query.js";
import { useZone } from "../../lib/settings.js";
import { dateOf, durationOf } from "../../lib/time.js";
import type { ChangeRow } from "../../store/changes.js";
import type { MeshDiff } from "../../store/mesh.js";
import { text } from "../../text.js";
import { LiveRowView } from "./row.js";
import type { LiveFilter } from "./rows.js";
import { matches, rowsOf } from "./rows.js";
import "./live.css";

const words = text.live;
const ROW_PX = 36;
const TWO_LINES_PX = 60;
const NARROW = "(max-width: 900px)";
const ANNOUNCE_MS = 10_000;
const FIRST_SHARDS = 200;

export default function LivePage() {
  const [query, change] = useQueryState();
  const filter: LiveFilter = {
    namespace: query.get("ns") ?? "",
    node: query.get("node") ?? "",
    actor: query.get("actor") ?? "",
    ticket: query.get("ticket") ?? "",
    kind: query.get("kind") ?? "",
  };
  const all = useStore(changeLog);
  const [held, setHeld] = useState<readonly ChangeRow[] | null>(null);
  const [isPaused, setPaused] = useState(false);
  const list = useRef<HTMLDivElement>(null);
  const shown = held ?? all;
  const newest = shown.at(-1);
  const fresh = useMemo(() => {
    if (held === null) return 0;
    const from = newest === undefined ? 0 : all.findLastIndex(({ id }) => id === newest.id) + 1;
    return all.slice(from).filter((each) => matches(each, filter)).length;
  }, [held, all, query]); // eslint-disable-line
  const [isOpen, setOpen] = useState<ReadonlySet<string>>(new Set());
  const [read, setRead] = useState<ReadonlyMap<string, readonly MeshDiff[]>>(new Map());
  const zone = useZone();
  const today = dateOf(new Date().toISOString(), zone);
  const rows = useMemo(
    () => rowsOf(shown, filter, isOpen, read, (instant) => dateOf(instant, zone), today),
    [shown, query, isOpen, read, zone, today], // eslint-disable-line
  );

  const pause = (): void => {
    setPaused(true);
    setHeld((before) => before ?? all);
  };
  const resume = (): void => {
    setPaused(false);
    setHeld(null);
    if (list.current) list.current.scrollTop = 0;
  };
  const toggle = (each: ChangeRow): void => {
    const next = new Set(isOpen);
    if (!next.delete(each.id)) {
      next.add(each.id);
      // What is read is below what is looked at: the list is held, so that it does not move away.
      if (each.diffs.length < each.shardCount && !read.has(each.id)) void readShards(each, setRead);
    }
    setOpen(next);
  };
  useShortcuts({ p: () => (isPaused ? resume() : pause()), j: () => step(list.current, 1), k: () => step(list.current, -1) });

  const isNarrow = useNarrow();
  const [isFilterShown, setFilterShown] = useState(false);
  const actors = useMemo(() => [...new Set(all.map(({ actor }) => actor))].sort(), [all]);
  const hasFilter = Object.values(filter).some(Boolean);
  return (
    <div className="live fills">
      <h1 className="sr">{words.heading}</h1>
      <div className={`filters ${isFilterShown ? "open" : ""}`}>
        <button type="button" className="button" aria-pressed={isPaused} onClick={() => (isPaused ? resume() : pause())}>
          {isPaused ? words.resume : words.pause} <kbd aria-hidden="true">p</kbd>
        </button>
        <Rate />
        {isNarrow && (
          <button type="button" className="button filter-toggle" aria-expanded={isFilterShown} onClick={() => setFilterShown(!isFilterShown)}>
            {words.filter}
          </button>
        )}
        <Choice label={text.filters.namespace} value={filter.namespace} options={[...mesh.namespaces.keys()]} onChange={(ns) => change({ ns })} />
        <Choice label={text.filters.node} value={filter.node} options={[...mesh.nodes.keys()]} onChange={(node) => change({ node })} />
        <Choice label={text.filters.actor} value={filter.actor} options={actors} onChange={(actor) => change({ actor })} />
        <Choice label={text.filters.kind} value={filter.kind} options={Object.keys(text.kinds)} names={text.kinds} onChange={(kind) => change({ kind })} />
        <label className="more">
          <span className="name">{text.filters.ticket}</span>
          <input className="input ticket" value={filter.ticket} onChange={(event) => change({ ticket: event.target.value })} />
        </label>
        {hasFilter && (
          <button type="button" className="link" onClick={() => change({ ns: null, node: null, actor: null, ticket: null, kind: null })}>
            {text.filters.clear}
          </button>
        )}
        <span className="grow" />
        <Announcer changes={all} />
      </div>
      <div className="live-list panel">
        {!isNarrow && (
          <div className="live-head" aria-hidden="true">
            {(["time", "revision", "actor", "ticket", "kind", "what", "reason"] as const).map((column) => (
              <span key={column}>{words.columns[column]}</span>
            ))}
          </div>
        )}
        {held !== null && (fresh > 0 || isPaused) && (
          <button type="button" className="fresh" onClick={resume}>
            {isPaused ? `${words.paused} ` : ""}
            {fresh > 0 ? words.fresh(fresh) : words.resume}
          </button>
        )}
        {rows.length > 0 ? (
          <VirtualList
            ref={list}
            className="live-rows"
            role="log"
            label={words.log}
            count={rows.length}
            rowHeight={isNarrow ? TWO_LINES_PX : ROW_PX}
            keyOf={(index) => rows[index]?.key ?? ""}
            row={(index) => {
              const row = rows[index];
              return row && <LiveRowView row={row} isOpen={row.type === "change" && isOpen.has(row.key)} onToggle={toggle} />;
            }}
            onScroll={(top) => {
              if (isPaused) return;
              if (top > ROW_PX / 2) setHeld((before) => before ?? all);
              else setHeld(null);
            }}
          />
        ) : (
          <div className="blank">
            <p>{hasFilter ? text.empty.filtered : words.waiting}</p>
            {hasFilter && (
              <button type="button" className="button" onClick={() => change({ ns: null, node: null, actor: null, ticket: null, kind: null })}>
                {text.filters.clear}
              </button>
            )}
          </div>
        )}
        <Quiet newest={all.at(-1)} />
      </div>
    </div>
  );
}

function Rate() {
  const value = useValue(rate);
  return (
    <span className="rate" title={words.rateTitle}>
      {words.rate(value)}
    </span>
  );
}

/** That nothing happens is said, so that it is not taken for a page that hangs. */
function Quiet({ newest }: { newest: ChangeRow | undefined }) {
  const now = useNow();
  const serverNow = useServerNow();
  const state = stateOf(useValue(connection), now);
  if (state !== "live" || newest === undefined) return null;
  const since = serverNow - Date.parse(newest.committedAt);
  if (since < 60_000) return null;
  return <p className="live-quiet quiet">{words.quiet(durationOf(since))}</p>;
}

function Choice({
  label,
  value,
  options,
  names,
  onChange,
}: {
  label: string;
  value: string;
  options: readonly string[];
  names?: Readonly<Record<string, string>>;
  onChange(value: string): void;
}) {
  const all = value && !options.includes(value) ? [value, ...options] : options;
  return (
    <label className="more">
      <span className="name">{label}</span>
      <select className="select" value={value} onChange={(event) => onChange(event.target.value)}>
        <option value="">{text.filters.all}</option>
        {all.map((option) => (
          <option key={option} value={option}>
            {names?.[option] ?? option}
          </option>
        ))}
      </select>
    </label>
  );
}

/** Off unless it is wanted: a sentence each ten seconds, not each change. */
function Announcer({ changes }: { changes: readonly ChangeRow[] }) {
  const [isOn, setOn] = useState(false);
  const [said, setSaid] = useState("");
  const latest = useRef(changes);
  latest.current = changes;
  useEffect(() => {
    if (!isOn) return;
    let last = latest.current.at(-1)?.id;
    const timer = setInterval(() => {
      const at = latest.current.findLastIndex(({ id }) => id === last);
      const added = latest.current.length - 1 - at;
      last = latest.current.at(-1)?.id;
      if (added > 0 && at >= 0) setSaid(words.announced(added, ANNOUNCE_MS / 1000));
    }, ANNOUNCE_MS);
    return () => clearInterval(timer);
  }, [isOn]);
  return (
    <label className="check announce more">
      <input type="checkbox" checked={isOn} onChange={(event) => setOn(event.target.checked)} />
      {words.announce}
      <span className="sr" aria-live="polite">
        {said}
      </span>
    </label>
  );
}

async function readShards(change: ChangeRow, set: (update: (before: ReadonlyMap<string, readonly MeshDiff[]>) => ReadonlyMap<string, readonly MeshDiff[]>) => void): Promise<void> {
  try {
    const { shardHistory } = await transport.request(ShardHistory, { filter: { changeId: change.id }, first: FIRST_SHARDS });
    set((before) => new Map(before).set(change.id, shardHistory.nodes.map(ofHistory)));
  } catch {
    set((before) => new Map(before).set(change.id, change.diffs));
  }
}

/** The next focusable row, or the first. */
function step(list: HTMLElement | null, by: number): void {
  const rows = [...(list?.querySelectorAll<HTMLElement>(".live-row[tabindex], .live-row button") ?? [])];
  if (rows.length === 0) return;
  const at = rows.findIndex((row) => row === document.activeElement);
  rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + by))]?.focus();
}

function useNarrow(): boolean {
  const [isNarrow, setNarrow] = useState(() => matchMedia(NARROW).matches);
  useEffect(() => {
    const media = matchMedia(NARROW);
    const changed = (): void => setNarrow(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  return isNarrow;
}
