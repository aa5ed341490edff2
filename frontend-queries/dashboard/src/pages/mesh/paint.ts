/** Paints the map on a canvas: all of it when the layout is another, then the cells that changed, once a frame. */
import type { MeshStore } from "../../store/mesh.js";
import { NONE } from "../../store/mesh.js";
import type { Box, Cells, MapLayout } from "./layout.js";
import { TILE_HEIGHT, cellsLeft } from "./layout.js";
import type { CellState } from "./states.js";
import { MOVED_MS, cellState, nodeStates } from "./states.js";

export interface Scene {
  readonly layout: MapLayout;
  readonly cells: Cells;
  readonly byLoad: boolean;
  /** The number of the namespace that alone is shown. */
  readonly only: number | undefined;
  /** Of tiles, how much of each namespace each node should have: by node, then namespace; 0 for none. */
  readonly shareOf: (node: number, namespace: number) => number;
}

type Colour = "page" | "panel" | "line" | "ink" | "quiet" | "rest" | "moved" | "leaving" | "lost" | "held";
const COLOURS: readonly Colour[] = ["page", "panel", "line", "ink", "quiet", "rest", "moved", "leaving", "lost", "held"];

/** Cells from this size on have glyphs, smaller ones a mark in a corner. */
const GLYPH_PX = 9;
const FADE_FRAME_MS = 100;

/** Tiles are painted all at once and no more often than this: each needs a pass over all shards. */
const TILES_MS = 250;

export class MapPainter {
  readonly #context: CanvasRenderingContext2D;
  #colours = {} as Record<Colour, string>;
  #scene: Scene | undefined;
  #states: CellState[] = [];
  #all = true;
  readonly #dirty = new Set<number>();
  readonly #dirtyBoxes = new Set<number>();
  /** Rows with a ring. */
  readonly #moving = new Set<number>();
  #frame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #still = matchMedia("(prefers-reduced-motion: reduce)");
  #pointed = -1;
  #chosen = -1;
  #maxLoad = 1;
  #counts = new Float64Array(0);
  #tiledAt = 0;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly store: MeshStore,
  ) {
    this.#context = canvas.getContext("2d") as CanvasRenderingContext2D;
    this.readColours();
  }

  /** Anew after the colours of the page are others. */
  readColours(): void {
    const style = getComputedStyle(this.canvas);
    for (const name of COLOURS) this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    this.repaint();
  }

  show(scene: Scene): void {
    const { layout } = scene;
    const scale = devicePixelRatio || 1;
    const isSame = this.#scene?.layout.width === layout.width && this.#scene.layout.height === layout.height;
    this.#scene = scene;
    if (!isSame || this.canvas.width !== Math.round(layout.width * scale)) {
      this.canvas.width = Math.round(layout.width * scale);
      this.canvas.height = Math.round(layout.height * scale);
      this.canvas.style.width = `${layout.width}px`;
      this.canvas.style.height = `${layout.height}px`;
      this.#context.setTransform(scale, 0, 0, scale, 0, 0);
    }
    const now = performance.now();
    for (let row = 0; row < this.store.rows; row += 1) {
      if (this.store.movedAt[row] && now - (this.store.movedAt[row] as number) < MOVED_MS) this.#moving.add(row);
    }
    this.repaint();
  }

  /** Nodes stand in another way, or all has changed. */
  repaint(): void {
    this.#all = true;
    this.#schedule();
  }

  /** A cell of a box: what is in it now, or that it is empty. */
  cellChanged(node: number, slot: number): void {
    if (this.#scene?.layout.isDense || slot < 0) this.#dirtyBoxes.add(node);
    else this.#dirty.add(node * 0x200000 + slot);
    this.#schedule();
  }

  moved(row: number): void {
    this.#moving.add(row);
    this.#schedule();
  }

  /** The cells under the pointer and of the keyboard, as rows; -1 for none. */
  mark(pointed: number, chosen: number): void {
    for (const row of [this.#pointed, this.#chosen]) this.#dirtyRow(row);
    this.#pointed = pointed;
    this.#chosen = chosen;
    for (const row of [pointed, chosen]) this.#dirtyRow(row);
    this.#schedule();
  }

  stop(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#frame = 0;
  }

  #dirtyRow(row: number): void {
    const cells = this.#scene?.cells;
    if (row < 0 || cells === undefined || cells.slotOf(row) < 0) return;
    this.#dirty.add(cells.boxOf(row) * 0x200000 + cells.slotOf(row));
  }

  #schedule(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  #paint(): void {
    const scene = this.#scene;
    if (scene === undefined) return;
    const now = performance.now();
    for (const row of this.#moving) {
      if (now - (this.store.movedAt[row] ?? 0) >= MOVED_MS) this.#moving.delete(row);
      if (!this.#still.matches || !this.#moving.has(row)) this.#dirtyRow(row);
    }
    if (scene.layout.isDense && (this.#all || this.#dirtyBoxes.size > 0)) {
      const wait = this.#tiledAt + TILES_MS - now;
      if (!this.#all && wait > 0) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#schedule(), wait);
        return;
      }
      this.#tiledAt = now;
      this.#count(scene.byLoad);
    }
    if (this.#all) {
      this.#all = false;
      this.#dirty.clear();
      this.#dirtyBoxes.clear();
      this.#states = nodeStates(this.store);
      this.#maxLoad = 1e-9;
      if (scene.byLoad) {
        for (let row = 0; row < this.store.rows; row += 1) this.#maxLoad = Math.max(this.#maxLoad, this.store.load[row] as number);
      }
      this.#context.clearRect(0, 0, scene.layout.width, scene.layout.height);
      for (const box of scene.layout.boxes) this.#paintBox(scene, box, now);
    } else {
      const boxes = new Map(scene.layout.boxes.map((box) => [box.number, box]));
      for (const number of this.#dirtyBoxes) {
        const box = boxes.get(number);
        if (box) this.#paintBox(scene, box, now);
      }
      for (const key of this.#dirty) {
        const box = boxes.get(Math.floor(key / 0x200000));
        if (box) this.#paintCell(scene, box, key % 0x200000, now);
      }
      this.#dirty.clear();
      this.#dirtyBoxes.clear();
    }
    if (this.#moving.size > 0 && !scene.layout.isDense) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#schedule(), FADE_FRAME_MS);
    }
  }

  #paintBox(scene: Scene, box: Box, now: number): void {
    const context = this.#context;
    context.clearRect(box.x, box.y, box.width, box.height);
    context.fillStyle = this.#colours.panel;
    context.beginPath();
    context.roundRect(box.x, box.y, box.width, box.height, 6);
    context.fill();
    if (scene.layout.isDense) {
      this.#paintTiles(scene, box);
      return;
    }
    const slots = scene.cells.slots[box.number] as Int32Array;
    for (let slot = 0; slot < slots.length; slot += 1) {
      if ((slots[slot] as number) >= 0) this.#paintCell(scene, box, slot, now, false);
    }
  }

  #paintCell(scene: Scene, box: Box, slot: number, now: number, clear = true): void {
    const context = this.#context;
    const { pitch, gap } = scene.layout;
    const size = pitch - gap;
    const x = cellsLeft(box) + (slot % box.columns) * pitch;
    const y = box.top + Math.floor(slot / box.columns) * pitch;
    if (clear) {
      context.fillStyle = this.#colours.panel;
      context.fillRect(x - gap / 2, y - gap / 2, pitch, pitch);
    }
    const row = scene.cells.slots[box.number]?.[slot] ?? -1;
    if (row < 0) return;
    const { store } = this;
    const state = cellState(store.status[row] as number, this.#states[store.owner[row] as number] ?? "lost");
    const colour = this.#colours[state];
    context.fillStyle = colour;
    const part = scene.byLoad ? Math.max(0.15, (store.load[row] as number) / this.#maxLoad) : 1;
    const filled = Math.max(2, Math.round(size * part));
    const top = y + size - filled;
    if (size < GLYPH_PX) {
      context.fillRect(x, top, size, filled);
      if (state === "held") {
        context.fillStyle = this.#colours.panel;
        context.fillRect(x + 1, top + 1, size - 2, Math.max(0, filled - 2));
      } else if (state !== "rest") {
        // A corner is cut, one way for those that leave, the other for those that are lost.
        context.fillStyle = this.#colours.panel;
        const half = Math.ceil(size / 2);
        context.fillRect(state === "leaving" ? x + size - half : x, y, half, half);
      }
    } else if (state === "leaving") {
      context.globalAlpha = 0.28;
      context.fillRect(x, top, size, filled);
      context.globalAlpha = 1;
      this.#hatch(x, top, size, filled, colour);
    } else if (state === "lost") {
      context.globalAlpha = 0.18;
      context.fillRect(x, top, size, filled);
      context.globalAlpha = 1;
      this.#cross(x, y, size, colour);
    } else if (state === "held") {
      context.strokeStyle = colour;
      context.lineWidth = 2;
      context.strokeRect(x + 1, top + 1, size - 2, Math.max(1, filled - 2));
    } else {
      context.fillRect(x, top, size, filled);
    }
    if (store.pinned[row]) {
      const dot = size < GLYPH_PX ? Math.max(2, Math.floor(size / 3)) : Math.max(4, Math.round(size / 3));
      context.fillStyle = this.#colours.ink;
      if (size < GLYPH_PX) context.fillRect(x, y, dot, dot);
      else {
        context.beginPath();
        context.arc(x + size / 2, y + size / 2, dot / 2 + 1.5, 0, 2 * Math.PI);
        context.fillStyle = this.#colours.panel;
        context.fill();
        context.beginPath();
        context.arc(x + size / 2, y + size / 2, dot / 2, 0, 2 * Math.PI);
        context.fillStyle = this.#colours.ink;
        context.fill();
      }
    }
    if (this.#moving.has(row)) {
      const age = (now - (store.movedAt[row] as number)) / MOVED_MS;
      context.globalAlpha = this.#still.matches ? 1 : Math.max(0.25, 1 - age);
      this.#ring(x, y, size, gap, this.#colours.moved);
      context.globalAlpha = 1;
    }
    if (row === this.#pointed || row === this.#chosen) this.#ring(x, y, size, gap, this.#colours.ink);
  }

  #ring(x: number, y: number, size: number, gap: number, colour: string): void {
    const context = this.#context;
    const line = size < GLYPH_PX ? 1 : 2;
    context.strokeStyle = colour;
    context.lineWidth = line;
    const out = size < GLYPH_PX ? 0 : (gap - line) / 2 + 0.5;
    context.strokeRect(x - out + line / 2, y - out + line / 2, size + 2 * out - line, size + 2 * out - line);
  }

  #hatch(x: number, y: number, width: number, height: number, colour: string): void {
    const context = this.#context;
    context.save();
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.beginPath();
    for (let at = -height; at < width; at += 5) {
      context.moveTo(x + at, y + height);
      context.lineTo(x + at + height, y);
    }
    context.stroke();
    context.restore();
  }

  #cross(x: number, y: number, size: number, colour: string): void {
    const context = this.#context;
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x + 2, y + 2);
    context.lineTo(x + size - 2, y + size - 2);
    context.moveTo(x + size - 2, y + 2);
    context.lineTo(x + 2, y + size - 2);
    context.stroke();
  }

  /** A bar a namespace, filled to its share: the tick is 100 %, the bar ends at 150 %. */
  #paintTiles(scene: Scene, box: Box): void {
    const context = this.#context;
    const { store } = this;
    const x = cellsLeft(box);
    const width = box.width - 2 * (x - box.x);
    const state = this.#states[box.number] ?? "lost";
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "alphabetic";
    let line = 0;
    store.namespaceNames.list.forEach((name, namespace) => {
      if (scene.only !== undefined && namespace !== scene.only) return;
      const y = box.top + line * TILE_HEIGHT;
      line += 1;
      if (y + TILE_HEIGHT > box.y + box.height) return;
      const value = this.#counts[box.number * store.namespaceNames.list.length + namespace] ?? 0;
      const share = scene.shareOf(box.number, namespace);
      context.fillStyle = this.#colours.quiet;
      context.textAlign = "left";
      context.fillText(name, x, y + 11, width - 56);
      context.textAlign = "right";
      context.fillText(Math.round(value).toLocaleString("en"), x + width, y + 11);
      context.fillStyle = this.#colours.line;
      context.fillRect(x, y + 14, width, 4);
      context.fillStyle = this.#colours[state];
      context.fillRect(x, y + 14, share > 0 ? Math.min(width, (width * value) / share / 1.5) : value > 0 ? width : 0, 4);
      context.fillStyle = this.#colours.ink;
      if (share > 0) context.fillRect(Math.round(x + width / 1.5) - 1, y + 12, 2, 8);
    });
  }

  /** How much each node owns of each namespace: by node, then namespace. */
  #count(byLoad: boolean): void {
    const width = this.store.namespaceNames.list.length;
    this.#counts = new Float64Array(width * this.store.nodeNames.list.length);
    const { owner, namespace, load, rows } = this.store;
    for (let row = 0; row < rows; row += 1) {
      const node = owner[row] as number;
      if (node === NONE) continue;
      const at = node * width + (namespace[row] as number);
      this.#counts[at] = (this.#counts[at] as number) + (byLoad ? (load[row] as number) : 1);
    }
  }
}
