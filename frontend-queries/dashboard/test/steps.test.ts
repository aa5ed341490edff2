import { expect, test } from "vitest";

import { neighboursOf } from "../src/pages/time/neighbours.js";

const made = (revision: number): any => ({ id: `c${revision}`, lastRevision: String(revision) });

test("around a time are the newest change up to it, the one before that, and the first after it", () => {
  expect(neighboursOf([made(12), made(11)], [made(13)], null)).toEqual({ latest: made(12), before: made(11), next: made(13) });
  expect(neighboursOf([], [made(1)], null)).toEqual({ latest: undefined, before: undefined, next: made(1) });
});

test("of changes that were committed together, those beside a revision are found", () => {
  const together = [made(14), made(13), made(12), made(11)];
  expect(neighboursOf(together, [made(15)], "12")).toEqual({ latest: made(12), before: made(11), next: made(13) });
  expect(neighboursOf(together, [made(15)], "14")).toEqual({ latest: made(14), before: made(13), next: made(15) });
  expect(neighboursOf(together, [], "10")).toEqual({ latest: undefined, before: undefined, next: made(11) });
});
