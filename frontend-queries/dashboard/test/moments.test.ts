import { expect, test } from "vitest";

import { DAY_MS, openingOf } from "../src/pages/time/moments.js";

test("a day ago is looked at first, or the middle of a history of less, which is never before the oldest that is kept", () => {
  expect(openingOf(0, 3 * DAY_MS)).toBe(2 * DAY_MS);
  expect(openingOf(0, DAY_MS)).toBe(DAY_MS / 2);
  expect(openingOf(1_000, 1_000)).toBe(1_001);
});
