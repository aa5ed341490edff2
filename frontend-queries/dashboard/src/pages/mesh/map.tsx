/** The map: a canvas under the names of its boxes, and a grid of one cell over it for keyboard and screen readers. */
import { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "react";

import { connection, mesh } from "../../api/live.js";
import { useSelected, useStore } from "../../lib/external.js";
import { useShortcuts } from "../../lib/keys.js";
import { theme } from "../../lib/settings.js";
import { amount, count } from "../../lib/time.js";
import { NONE, STATUSES } from "../../store/mesh.js";
import type { MeshNode, Totals } from "../../store/mesh.js";
import { text } from "../../text.js";
import { Cells, boxAt, layoutOf, nextRow, rowAt } from "./layout.js";
import type { Direction, MapLayout, PlacedNode } from "./layout.js";
import { MapPainter } from "./paint.js";
import { MOVED_MS, needsAttention, nodeState, nodeStates } from "./states.js";

const words = text.mesh;

const DIRECTIONS: Readonly<Record<string, Direction>> = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
};

/** Room for shards that come, beyond what a node owns or should own. */
const SPARE = 1.04;

export interface MapProps {
  readonly totals: Totals;
  readonly namespace: string;
  /** The node that alone is shown; empty for all. */
  readonly node: string;
  readonly byZone: boolean;
  readonly byLoad: boolean;
  /** `namespace/shardId`; empty for none. */
  readonly chosen: string;
  readonly tidied: number;
  onPoint(row: number): void;
  onChoose(row: number): void;
  onOpen(row: number): void;
  onNode(id: string): void;
}

export function MeshMap(props: MapProps) {
  const { totals, namespace, node, byZone, byLoad, chosen, tidied } = props;
  useStore(mesh);
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const painter = useRef<MapPainter>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const isListed = useSelected(connection, (current) => current.isListed);
  const only = namespace ? mesh.namespaceNames.find(namespace) : undefined;

  useLayoutEffect(() => {
    const element = frame.current as HTMLDivElement;
    const measure = (): void => {
      const width = Math.floor(element.clientWidth);
      // Of the window, so that the map does not change with what stands around it.
      const height = Math.max(width < 640 ? 320 : 440, innerHeight - 300);
      setSize((before) => (before.width === width && Math.abs(before.height - height) < 80 ? before : { width, height }));
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, []);

  // Only what changes where boxes lie; how many shards there are does not, once they are listed.
  const placing = [...mesh.nodes.values()].map(({ nodeId, region, zone }) => `${nodeId} ${region} ${zone}`).join("\n");
  const unowned = mesh.nodeNames.list.filter((id, number) => !mesh.nodes.has(id) && (totals.nodes[number]?.shards ?? 0) > 0);
  const layout = useMemo(
    () => layoutOf(placedNodes(totals, namespace, node, byZone, unowned), size.width, size.height, Math.max(1, namespace ? 1 : mesh.namespaces.size)),
    [size, placing, unowned.join("\n"), namespace, node, byZone, isListed, mesh.epoch, tidied], // eslint-disable-line
  );
  const cells = useMemo(() => filled(new Cells(layout), only), [layout, isListed, mesh.epoch, only]); // eslint-disable-line

  useLayoutEffect(() => {
    painter.current = new MapPainter(canvas.current as HTMLCanvasElement, mesh);
    const repaint = (): void => painter.current?.readColours();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", repaint);
    const stop = theme.subscribe(() => requestAnimationFrame(repaint));
    return () => {
      stop();
      dark.removeEventListener("change", repaint);
      painter.current?.stop();
      mesh.onChange = undefined;
    };
  }, []);

  useLayoutEffect(() => {
    painter.current?.show({ layout, cells, byLoad, only, shareOf: (number, of) => shareOf(totals, number, of, byLoad) });
    mesh.onChange = (row, before, after) => {
      if (only !== undefined && mesh.namespace[row] !== only) return;
      const box = cells.boxOf(row);
      const slot = cells.slotOf(row);
      if (before !== after) {
        cells.remove(row);
        if (box >= 0) painter.current?.cellChanged(box, slot);
        if (after !== NONE) {
          cells.add(row, after);
          if (cells.boxOf(row) >= 0) painter.current?.cellChanged(after, cells.slotOf(row));
          if (mesh.movedAt[row]) painter.current?.moved(row);
        }
      } else if (box >= 0) painter.current?.cellChanged(box, slot);
    };
  }, [layout, cells, byLoad, only]); // eslint-disable-line

  // How nodes stand colours all of their shards.
  const standing = nodeStates(mesh).join();
  useEffect(() => painter.current?.repaint(), [standing]);

  const chosenRow = rowNamed(chosen);
  const [pointed, setPointed] = useState(-1);
  useEffect(() => painter.current?.mark(pointed, chosenRow), [pointed, chosenRow, layout, cells]);

  const point = (row: number): void => {
    if (row === pointed) return;
    setPointed(row);
    props.onPoint(row);
  };
  const at = (event: React.PointerEvent | React.MouseEvent): [number, number] => {
    const { left, top } = (canvas.current as HTMLCanvasElement).getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };

  const nextInNeed = (): void => {
    const states = nodeStates(mesh);
    const ordered = layout.boxes.flatMap(({ number }) => [...(cells.slots[number] as Int32Array)].filter((row) => row >= 0));
    const start = ordered.indexOf(chosenRow);
    for (let step = 1; step <= ordered.length; step += 1) {
      const row = ordered[(start + step) % ordered.length] as number;
      if (needsAttention(mesh, row, states)) return props.onChoose(row);
    }
  };
  useShortcuts({ n: nextInNeed });

  const id = useId();
  const position = positionOf(layout, cells, chosenRow);
  return (
    <div className="map" ref={frame}>
      {layout.isDense && <p className="dense quiet">{words.density}</p>}
      <div
        className="map-area"
        style={{ height: layout.height }}
        onPointerMove={(event) => point(rowAt(layout, cells, ...at(event)))}
        onPointerLeave={() => point(-1)}
        onClick={(event) => {
          const [x, y] = at(event);
          const row = rowAt(layout, cells, x, y);
          if (row >= 0) return row === chosenRow ? props.onOpen(row) : props.onChoose(row);
          const box = layout.isDense ? boxAt(layout, x, y) : undefined;
          if (box) props.onNode(box.id);
        }}
      >
        <canvas ref={canvas} aria-hidden="true" />
        {layout.regions.map((region) => (
          <h2 key={`${region.name} ${region.y}`} className="region cut" style={{ transform: `translate(${region.x}px, ${region.y}px)`, width: region.width }}>
            {region.name}
          </h2>
        ))}
        {layout.boxes.map((box) => {
          const found = mesh.nodes.get(box.id);
          const own = totals.nodes[box.number];
          const more = cells.overflow[box.number] ?? 0;
          return (
            <div key={box.id} className="box-head" style={{ transform: `translate(${box.x}px, ${box.y}px)`, width: box.width }}>
              <button type="button" className="box-name cut" onClick={() => props.onNode(box.id)}>
                {box.id}
              </button>
              <NodeTag node={found} />
              <span className="grow" />
              {own && own.shards > 0 ? (
                <span className="quiet">{byLoad ? amount(own.load) : count(own.shards)}</span>
              ) : (
                isListed && <span className="quiet cut">{words.ownsNothing}</span>
              )}
              {more > 0 && !layout.isDense && (
                <span className="quiet" title={words.moreTitle(more)}>
                  ({words.more(more)})
                </span>
              )}
            </div>
          );
        })}
        <div
          className="map-grid"
          role="grid"
          tabIndex={0}
          aria-label={words.grid(totals.shards, layout.boxes.length)}
          aria-rowcount={layout.boxes.length}
          aria-colcount={Math.max(1, ...layout.boxes.map(({ number }) => totals.nodes[number]?.shards ?? 0))}
          aria-activedescendant={position ? `${id}-cell` : undefined}
          aria-describedby={`${id}-help`}
          onKeyDown={(event) => {
            const direction = DIRECTIONS[event.key];
            if (direction !== undefined && !event.altKey && !event.metaKey) {
              event.preventDefault();
              const row = nextRow(layout, cells, chosenRow, direction, event.ctrlKey);
              if (row >= 0) props.onChoose(row);
            } else if (event.key === "Enter" && chosenRow >= 0) {
              event.preventDefault();
              props.onOpen(chosenRow);
            } else if (event.key === "Escape" && (chosenRow >= 0 || node)) {
              event.preventDefault();
              if (chosenRow >= 0) props.onChoose(-1);
              else props.onNode("");
            }
          }}
        >
          <div role="row" aria-rowindex={position?.row ?? 1}>
            <div role="gridcell" id={`${id}-cell`} aria-colindex={position?.column ?? 1} aria-selected={position !== undefined}>
              {chosenRow >= 0 ? labelOf(chosenRow) : words.hover}
            </div>
          </div>
        </div>
        <p id={`${id}-help`} hidden>
          {words.gridHelp}
        </p>
      </div>
    </div>
  );
}

export function NodeTag({ node }: { node: MeshNode | undefined }) {
  const state = nodeState(node);
  if (state === "rest") return null;
  return <span className={`tag ${state}`}>{(node ? text.statuses[node.status] : text.statuses.UNKNOWN).toUpperCase()}</span>;
}

/** What a screen reader says of a cell. */
function labelOf(row: number): string {
  const owner = mesh.owner[row] as number;
  const node = owner === NONE ? "" : (mesh.nodeNames.list[owner] as string);
  const status = STATUSES[mesh.status[row] as number];
  const found = mesh.nodes.get(node);
  const states = [
    found === undefined ? words.states.unowned : found.status === "DOWN" ? words.states.down : found.status === "CORDONED" ? words.states.cordoned : "",
    status === "DRAINING" || found?.status === "DRAINING" ? words.states.draining : "",
    status === "PAUSED" || status === "DISABLED" ? words.states[status] : "",
    mesh.pinned[row] ? words.states.pinned : "",
    mesh.movedAt[row] && performance.now() - (mesh.movedAt[row] as number) < MOVED_MS ? words.states.moved : "",
  ].filter(Boolean);
  return words.cell(nameOf(row), node, states.join(", "));
}

export const nameOf = (row: number): string => `${mesh.namespaceNames.list[mesh.namespace[row] as number]}/${mesh.ids[row]}`;

export function rowNamed(name: string): number {
  const at = name.indexOf("/");
  if (at < 0) return -1;
  const row = mesh.find(name.slice(0, at), name.slice(at + 1));
  return row === undefined ? -1 : row;
}

function positionOf(layout: MapLayout, cells: Cells, row: number): { row: number; column: number } | undefined {
  const slot = row < 0 ? -1 : cells.slotOf(row);
  if (slot < 0) return undefined;
  const box = layout.boxes.findIndex(({ number }) => number === cells.boxOf(row));
  return box < 0 ? undefined : { row: box + 1, column: slot + 1 };
}

function filled(cells: Cells, only: number | undefined): Cells {
  const rows: number[] = [];
  for (let row = 0; row < mesh.rows; row += 1) {
    const owner = mesh.owner[row] as number;
    if (owner === NONE || (only !== undefined && mesh.namespace[row] !== only)) continue;
    rows.push(row);
  }
  for (const row of rows) cells.add(row, mesh.owner[row] as number);
  return cells;
}

/** All nodes but removed ones, and those that own shards without being registered; by region or zone, then by name. */
function placedNodes(totals: Totals, namespace: string, node: string, byZone: boolean, unowned: readonly string[]): PlacedNode[] {
  const nodes = [...mesh.nodes.values()].filter(({ nodeId }) => !node || nodeId === node);
  const weights = [...mesh.nodes.values()].reduce((sum, { status, weight }) => sum + (status === "ACTIVE" ? weight : 0), 0);
  const listed = namespace ? (mesh.namespaces.get(namespace)?.shardCount ?? 0) : [...mesh.namespaces.values()].reduce((sum, each) => sum + each.shardCount, 0);
  const all = Math.max(totals.shards, listed);
  const placed = nodes.map((each): PlacedNode => {
    const number = mesh.nodeNames.number(each.nodeId);
    const own = Math.max(totals.nodes[number]?.shards ?? 0, namespace || totals.shards > 0 ? 0 : each.shardCount);
    const share = each.status === "ACTIVE" && weights > 0 && !node ? (all * each.weight) / weights : 0;
    const region = byZone ? (each.zone ?? words.noZone) : (each.region ?? words.noRegion);
    return { number, id: each.nodeId, region, reserve: Math.ceil(Math.max(own, share) * SPARE) + 1 };
  });
  placed.sort((left, right) => left.region.localeCompare(right.region, "en") || left.id.localeCompare(right.id, "en", { numeric: true }));
  const orphans = unowned
    .filter((id) => !node || id === node)
    .map((id): PlacedNode => {
      const number = mesh.nodeNames.number(id);
      return { number, id, region: words.unowned, reserve: (totals.nodes[number]?.shards ?? 0) + 1 };
    });
  return [...placed, ...orphans];
}

/** What a node should have of a namespace, by its weight among the nodes that may own. */
function shareOf(totals: Totals, number: number, namespace: number, byLoad: boolean): number {
  const node = mesh.nodes.get(mesh.nodeNames.list[number] as string);
  if (node?.status !== "ACTIVE") return 0;
  const weights = [...mesh.nodes.values()].reduce((sum, { status, weight }) => sum + (status === "ACTIVE" ? weight : 0), 0);
  const name = mesh.namespaceNames.list[namespace] as string;
  const all = mesh.namespaces.get(name)?.shardCount ?? 0;
  const scale = byLoad && totals.shards > 0 ? totals.load / totals.shards : 1;
  return (scale * all * node.weight) / weights;
}
