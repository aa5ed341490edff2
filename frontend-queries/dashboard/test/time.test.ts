import { expect, test } from "vitest";

import { durationOf, instantOf, momentOf, timeOf } from "../src/lib/time.js";

test.each([
  [0, "0 s"],
  [14_000, "14 s"],
  [119_000, "119 s"],
  [12 * 60_000, "12 min"],
  [26 * 3_600_000, "26 h"],
  [3 * 86_400_000, "3 d"],
])("%i ms are %s", (milliseconds, shown) => {
  expect(durationOf(milliseconds)).toBe(shown);
});

test("a time has its Z in UTC, and its date where that is not today", () => {
  const at = "2026-11-29T03:19:58.123456Z";
  expect(timeOf(at, "utc")).toBe("03:19:58");
  expect(instantOf(at, "utc")).toBe("2026-11-29 03:19Z");
  expect(momentOf(at, "utc", Date.parse("2026-11-29T20:00:00Z"))).toBe("03:19Z");
  expect(momentOf(at, "utc", Date.parse("2026-11-30T20:00:00Z"))).toBe("2026-11-29 03:19Z");
});
