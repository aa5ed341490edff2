/** The mesh as it was: a box a node, as it was registered then, a cell a shard; filled is what was not there at the other moment. */
import { useEffect, useRef, useState } from "react";

import { useValue } from "../../lib/external.js";
import { theme } from "../../lib/settings.js";
import { count } from "../../lib/time.js";
import { text } from "../../text.js";
import { nodeState } from "../mesh/states.js";
import type { PastNode } from "./nodes.js";

const words = text.time;

export function MapAsAt({ nodes, registered }: { nodes: ReadonlyMap<string, readonly boolean[]>; registered: ReadonlyMap<string, PastNode> }) {
  const ids = [...new Set([...registered.keys(), ...nodes.keys()])];
  const regionOf = (id: string): string => (registered.has(id) ? (registered.get(id)?.region ?? text.mesh.noRegion) : text.mesh.unowned);
  const regions = [...new Set(ids.map(regionOf))].sort();
  const all = [...nodes.values()].reduce((sum, cells) => sum + cells.length, 0);
  const size = all <= 2_000 ? 12 : all <= 20_000 ? 6 : 4;
  return (
    <div className="as-at">
      {regions.map((region) => (
        <section key={region} aria-label={region}>
          <h2>{region}</h2>
          <ul className="as-boxes">
            {ids
              .filter((id) => regionOf(id) === region)
              .sort()
              .map((id) => {
                const cells = nodes.get(id) ?? [];
                const node = registered.get(id);
                const state = nodeState(node);
                const differs = cells.reduce((sum, each) => sum + (each ? 1 : 0), 0);
                return (
                  <li key={id}>
                    <p className="as-head">
                      <span className="cut strong">{id}</span>
                      {state !== "rest" && <span className={`tag ${state}`}>{(node ? text.statuses[node.status] : text.statuses.UNKNOWN).toUpperCase()}</span>}
                      <span className="quiet">{cells.length > 0 ? count(cells.length) : text.mesh.ownsNothing}</span>
                      {differs > 0 && <span className="gone">{words.left(differs)}</span>}
                    </p>
                    <span className="sr">{words.node(id, cells.length, differs)}</span>
                    {node && <p className="as-place quiet cut">{words.place(node.zone, node.weight)}</p>}
                    {cells.length > 0 && <Cells cells={cells} size={size} />}
                  </li>
                );
              })}
          </ul>
        </section>
      ))}
    </div>
  );
}

function Cells({ cells, size }: { cells: readonly boolean[]; size: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const chosen = useValue(theme);
  const [width, setWidth] = useState(0);
  const [isDark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const element = canvas.current as HTMLCanvasElement;
    const observer = new ResizeObserver(() => setWidth(Math.floor((element.parentElement as HTMLElement).clientWidth)));
    observer.observe(element.parentElement as HTMLElement);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const changed = (): void => setDark(dark.matches);
    dark.addEventListener("change", changed);
    return () => {
      observer.disconnect();
      dark.removeEventListener("change", changed);
    };
  }, []);
  const inRow = Math.max(1, Math.floor(width / size));
  const height = Math.ceil(cells.length / inRow) * size;
  useEffect(() => {
    const element = canvas.current as HTMLCanvasElement;
    const context = element.getContext("2d");
    if (context === null || width === 0) return;
    const scale = devicePixelRatio || 1;
    element.width = width * scale;
    element.height = height * scale;
    context.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const [rest, moved] = [style.getPropertyValue("--rest"), style.getPropertyValue("--moved")];
    const inner = size - (size > 6 ? 2 : 1);
    cells.forEach((isGone, index) => {
      const [x, y] = [(index % inRow) * size, Math.floor(index / inRow) * size];
      context.fillStyle = isGone ? moved : rest;
      context.fillRect(x, y, inner, inner);
      if (isGone && size > 6) context.clearRect(x + 3, y + 3, inner - 6, inner - 6); // a ring: not by colour alone
    });
  }, [cells, size, width, height, inRow, chosen, isDark]);
  return (
    <span className="as-cells" aria-hidden="true">
      <canvas ref={canvas} style={{ width, height }} />
    </span>
  );
}
