import { describe, expect, test } from "vitest";

import { Cells, layoutOf, nextRow, pitchOf, rowAt } from "../src/pages/mesh/layout.js";
import type { PlacedNode } from "../src/pages/mesh/layout.js";

const nodes = (count: number, reserve: number, regions = 3): PlacedNode[] =>
  Array.from({ length: count }, (_, number) => ({ number, id: `node-${number}`, region: `region-${number % regions}`, reserve }));

describe("layoutOf", () => {
  test.each([
    [512, 18],
    [10_000, 6],
  ])("%i shards have cells of a size that fits", (shards, pitch) => {
    expect(pitchOf(1232 * 520, shards)).toBe(pitch);
  });

  test("100,000 shards are tiles", () => {
    expect(layoutOf(nodes(50, 2_000), 900, 520, 3).isDense).toBe(true);
  });

  test.each([320, 390, 900, 1232, 2200])("no two boxes overlap, and none is outside, at a width of %i", (width) => {
    const { boxes, height } = layoutOf(nodes(23, 60, 5), width, 520, 3);
    expect(boxes).toHaveLength(23);
    for (const box of boxes) {
      expect(box.x).toBeGreaterThanOrEqual(0);
      expect(box.x + box.width).toBeLessThanOrEqual(width);
      expect(box.y + box.height).toBeLessThanOrEqual(height);
      for (const other of boxes) {
        const apart = box.x + box.width <= other.x || other.x + other.width <= box.x || box.y + box.height <= other.y || other.y + other.height <= box.y;
        expect(box === other || apart).toBe(true);
      }
    }
  });

  test("every box has room for what it is to hold, and its cells are inside", () => {
    const { boxes, pitch } = layoutOf(nodes(7, 219), 900, 520, 3);
    for (const box of boxes) {
      expect(box.capacity).toBeGreaterThanOrEqual(219);
      expect(box.columns * pitch).toBeLessThanOrEqual(box.width);
      expect(box.top + (box.capacity / box.columns) * pitch).toBeLessThanOrEqual(box.y + box.height);
    }
  });
});

describe("Cells", () => {
  const layout = layoutOf(nodes(3, 10), 900, 520, 1);
  const filled = (): Cells => {
    const cells = new Cells(layout);
    for (let row = 0; row < 10; row += 1) cells.add(row, 0);
    return cells;
  };

  test("a shard that leaves leaves a hole, one that comes fills it, and no other moves", () => {
    const cells = filled();
    const before = Array.from({ length: 10 }, (_, row) => cells.slotOf(row));
    cells.remove(4);
    cells.add(4, 1);
    cells.add(20, 0);
    expect(cells.slotOf(20)).toBe(before[4]);
    expect(cells.boxOf(4)).toBe(1);
    for (const row of [0, 1, 2, 3, 5, 6, 7, 8, 9]) expect(cells.slotOf(row)).toBe(before[row]);
  });

  test("what finds no room is counted, until it leaves", () => {
    const cells = filled();
    const { capacity } = layout.boxes[0]!;
    for (let row = 10; row < capacity + 5; row += 1) cells.add(row, 0);
    expect(cells.overflow[0]).toBe(5);
    expect(cells.slotOf(capacity + 4)).toBe(-1);
    cells.remove(capacity + 4);
    expect(cells.overflow[0]).toBe(4);
  });

  test("the shard at a point is the one whose cell is there", () => {
    const cells = filled();
    const box = layout.boxes[0]!;
    expect(rowAt(layout, cells, box.x + 8 + layout.pitch * 2 + 1, box.top + 1)).toBe(2);
    expect(rowAt(layout, cells, box.x + 1, box.y + 1)).toBe(-1);
  });

  test("arrow keys go on in the next box, and by box with Ctrl", () => {
    const cells = filled();
    cells.add(30, 2);
    expect(nextRow(layout, cells, -1, "right", false)).toBe(0);
    expect(nextRow(layout, cells, 0, "right", false)).toBe(1);
    expect(nextRow(layout, cells, 9, "right", false)).toBe(30);
    expect(nextRow(layout, cells, 30, "left", false)).toBe(9);
    expect(nextRow(layout, cells, 3, "down", true)).toBe(30);
    expect(nextRow(layout, cells, 30, "right", false)).toBe(-1);
  });
});
