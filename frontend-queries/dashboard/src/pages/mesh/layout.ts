/**
 * Where each node's box lies on the map, and which shard is in which cell of it. Pure: no canvas, no clock.
 *
 * A box has room for what its node owns or should own by its weight, whichever is more, so that nothing moves when shards
 * come and go: a shard that leaves leaves a hole, one that comes fills a hole. What finds no room is counted.
 */

/** A node to be placed; `number` is the store's. */
export interface PlacedNode {
  readonly number: number;
  readonly id: string;
  readonly region: string;
  /** Cells to make room for. */
  readonly reserve: number;
}

export interface Box {
  readonly number: number;
  readonly id: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** Top of the cells, below the name. */
  readonly top: number;
  readonly columns: number;
  readonly capacity: number;
}

export interface Region {
  readonly name: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
}

export interface MapLayout {
  readonly width: number;
  readonly height: number;
  /** From one cell to the next; a cell is smaller by `gap`. */
  readonly pitch: number;
  readonly gap: number;
  /** Too many shards for a cell each: a box has a tile for each namespace. */
  readonly isDense: boolean;
  readonly regions: readonly Region[];
  readonly boxes: readonly Box[];
}

const MAX_PITCH = 18;
const MIN_CELL = 4;
const REGION_GAP = 24;
const REGION_HEAD = 28;
const BOX_GAP = 12;
const BOX_HEAD = 28;
const BOX_FOOT = 8;
const BOX_SIDE = 8;
const MIN_BOX = 150;
export const TILE_HEIGHT = 24;

export const gapOf = (pitch: number): number => (pitch >= 9 ? 2 : 1);

/** Pixels from cell to cell so that this many fill three quarters of an area. */
export function pitchOf(area: number, cells: number): number {
  return Math.min(MAX_PITCH, Math.floor(Math.sqrt((0.75 * area) / Math.max(1, cells))));
}

/** `tiles` is how many namespaces a box shows where cells do not fit; `height` is what there would best be. */
export function layoutOf(nodes: readonly PlacedNode[], width: number, height: number, tiles: number): MapLayout {
  const total = nodes.reduce((sum, { reserve }) => sum + reserve, 0);
  const pitch = pitchOf(width * height, total);
  const gap = gapOf(pitch);
  const isDense = pitch - gap < MIN_CELL;
  const byRegion = new Map<string, PlacedNode[]>();
  for (const node of nodes) {
    const found = byRegion.get(node.region);
    if (found) found.push(node);
    else byRegion.set(node.region, [node]);
  }
  const groups = [...byRegion];
  const regions: Region[] = [];
  const boxes: Box[] = [];
  const minimum = MIN_BOX + 2 * BOX_SIDE;
  const most = Math.max(1, Math.floor((width + REGION_GAP) / (minimum + REGION_GAP)));
  const lines = Math.max(1, Math.ceil(groups.length / most));
  const perLine = Math.ceil(groups.length / lines) || 1;
  let y = 0;
  for (let first = 0; first < groups.length; first += perLine) {
    const line = groups.slice(first, first + perLine);
    const widths = shared(width - (line.length - 1) * REGION_GAP, line.map(([, members]) => weightOf(members, pitch, isDense, tiles)), minimum);
    let x = 0;
    let bottom = y;
    line.forEach(([name, members], index) => {
      const own = widths[index] as number;
      regions.push({ name, x, y, width: own });
      const placed = arranged(members, x, y + REGION_HEAD, own, pitch, isDense, tiles);
      boxes.push(...placed.boxes);
      bottom = Math.max(bottom, placed.bottom);
      x += own + REGION_GAP;
    });
    y = bottom + REGION_GAP;
  }
  return { width, height: Math.max(0, y - REGION_GAP), pitch, gap, isDense, regions, boxes };
}

const weightOf = (members: readonly PlacedNode[], pitch: number, isDense: boolean, tiles: number): number =>
  members.reduce((sum, { reserve }) => sum + (isDense ? tiles * TILE_HEIGHT * MIN_BOX : reserve * pitch * pitch) + (BOX_HEAD + BOX_FOOT + BOX_GAP) * MIN_BOX, 0);

/** Parts of a width in proportion to weights, none below the minimum; whole pixels that add up to the width. */
function shared(width: number, weights: readonly number[], minimum: number): number[] {
  const least = Math.min(minimum, Math.floor(width / weights.length));
  const spare = Math.max(0, width - least * weights.length);
  const sum = weights.reduce((total, each) => total + each, 0) || 1;
  const parts = weights.map((weight) => least + Math.floor((spare * weight) / sum));
  parts[parts.length - 1] = (parts.at(-1) ?? 0) + width - parts.reduce((total, each) => total + each, 0);
  return parts;
}

/** The boxes of a region, in as many columns as make it lowest. */
function arranged(members: readonly PlacedNode[], x: number, y: number, width: number, pitch: number, isDense: boolean, tiles: number): { boxes: Box[]; bottom: number } {
  let best: { boxes: Box[]; bottom: number } | undefined;
  const most = Math.max(1, Math.min(members.length, Math.floor((width + BOX_GAP) / (MIN_BOX + BOX_GAP))));
  for (let across = 1; across <= most; across += 1) {
    const own = Math.floor((width - (across - 1) * BOX_GAP) / across);
    const columns = Math.max(1, Math.floor((own - 2 * BOX_SIDE) / Math.max(1, pitch)));
    const boxes: Box[] = [];
    let top = y;
    for (let first = 0; first < members.length; first += across) {
      const line = members.slice(first, first + across);
      const rows = Math.max(1, ...line.map(({ reserve }) => Math.ceil(reserve / columns)));
      const inner = isDense ? tiles * TILE_HEIGHT : rows * pitch;
      const height = BOX_HEAD + inner + BOX_FOOT;
      line.forEach(({ number, id }, index) => {
        boxes.push({ number, id, x: x + index * (own + BOX_GAP), y: top, width: own, height, top: top + BOX_HEAD, columns, capacity: columns * rows });
      });
      top += height + BOX_GAP;
    }
    const bottom = top - BOX_GAP;
    if (best === undefined || bottom < best.bottom) best = { boxes, bottom };
  }
  return best ?? { boxes: [], bottom: y };
}

/** The left edge of the first cell. */
export const cellsLeft = (box: Box): number => box.x + BOX_SIDE;

/** Which shard is in which cell: of each box, a row of the store or -1 for each cell. */
export class Cells {
  /** By the number of the node. */
  readonly slots: Int32Array[] = [];
  /** Of each box, how many shards found no room. */
  readonly overflow: number[] = [];
  readonly #holes: number[][] = [];
  readonly #used: number[] = [];
  /** By row, its cell in the box of its owner; -1 without one. */
  #slotOf = new Int32Array(1024).fill(-1);
  #boxOf = new Int32Array(1024).fill(-1);

  constructor(layout: MapLayout) {
    for (const { number, capacity } of layout.boxes) {
      this.slots[number] = new Int32Array(capacity).fill(-1);
      this.overflow[number] = 0;
      this.#holes[number] = [];
      this.#used[number] = 0;
    }
  }

  slotOf(row: number): number {
    return this.#slotOf[row] ?? -1;
  }

  /** The number of the node in whose box it is; -1 without one. */
  boxOf(row: number): number {
    return this.#boxOf[row] ?? -1;
  }

  remove(row: number): void {
    const number = this.#boxOf[row] ?? -1;
    if (number < 0) return;
    const slot = this.#slotOf[row] as number;
    this.#boxOf[row] = -1;
    this.#slotOf[row] = -1;
    if (slot < 0) {
      this.overflow[number] = (this.overflow[number] ?? 1) - 1;
      return;
    }
    (this.slots[number] as Int32Array)[slot] = -1;
    (this.#holes[number] as number[]).push(slot);
  }

  /** Into the box of a node, where there is one. */
  add(row: number, number: number): void {
    const slots = this.slots[number];
    if (slots === undefined) return;
    if (row >= this.#slotOf.length) this.#grow(row);
    const used = this.#used[number] as number;
    let slot = (this.#holes[number] as number[]).pop() ?? -1;
    if (slot < 0 && used < slots.length) {
      slot = used;
      this.#used[number] = used + 1;
    }
    this.#boxOf[row] = number;
    this.#slotOf[row] = slot;
    if (slot < 0) this.overflow[number] = (this.overflow[number] ?? 0) + 1;
    else slots[slot] = row;
  }

  #grow(row: number): void {
    const length = Math.max(row + 1, this.#slotOf.length * 2);
    const slotOf = new Int32Array(length).fill(-1);
    const boxOf = new Int32Array(length).fill(-1);
    slotOf.set(this.#slotOf);
    boxOf.set(this.#boxOf);
    this.#slotOf = slotOf;
    this.#boxOf = boxOf;
  }
}

/** The row of the store at a point of the map; -1 where there is none. */
export function rowAt(layout: MapLayout, cells: Cells, x: number, y: number): number {
  const box = boxAt(layout, x, y);
  if (box === undefined || layout.isDense || y < box.top) return -1;
  const column = Math.floor((x - cellsLeft(box)) / layout.pitch);
  if (column < 0 || column >= box.columns) return -1;
  const slot = Math.floor((y - box.top) / layout.pitch) * box.columns + column;
  return cells.slots[box.number]?.[slot] ?? -1;
}

export const boxAt = (layout: MapLayout, x: number, y: number): Box | undefined =>
  layout.boxes.find((box) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height);

export type Direction = "left" | "right" | "up" | "down";

/**
 * The shard that is next in a direction, or the first of the next box where `byBox`; -1 where there is none. Left and
 * right go on in the next box; up and down keep to the column as far as they can.
 */
export function nextRow(layout: MapLayout, cells: Cells, from: number, direction: Direction, byBox: boolean): number {
  const { boxes } = layout;
  const at = boxes.findIndex(({ number }) => number === cells.boxOf(from));
  const back = direction === "left" || direction === "up";
  if (at < 0) return firstIn(layout, cells, 0, 1);
  const box = boxes[at] as Box;
  const slots = cells.slots[box.number] as Int32Array;
  const step = back ? -1 : 1;
  if (!byBox) {
    const stride = direction === "up" || direction === "down" ? box.columns : 1;
    for (let slot = cells.slotOf(from) + step * stride; slot >= 0 && slot < slots.length; slot += step * stride) {
      if ((slots[slot] as number) >= 0) return slots[slot] as number;
    }
  }
  const found = firstIn(layout, cells, at + step, step, !byBox && back);
  return found;
}

function firstIn(layout: MapLayout, cells: Cells, start: number, step: number, fromEnd = false): number {
  for (let index = start; index >= 0 && index < layout.boxes.length; index += step) {
    const slots = cells.slots[(layout.boxes[index] as Box).number] as Int32Array;
    const found = fromEnd ? slots.findLast((row) => row >= 0) : slots.find((row) => row >= 0);
    if (found !== undefined) return found;
  }
  return -1;
}
