import { describe, expect, test } from "vitest";

import { MeshError, describeError, describeRefusal } from "../src/index.js";

const rule = (name: string, more: object = {}) => ({
  rule: name,
  namespace: "orders",
  shardId: null,
  actual: "a change at 2026-11-29T09:00:00Z",
  allowed: "changes before 2026-11-29T08:00:00Z or from 2026-11-29T11:00:00Z on (the books are closed)",
  remedy: "Wait until 2026-11-29T11:00:00Z",
  ...more,
});

describe("describeRefusal", () => {
  test("states the rule that was broken, and its remedy", () => {
    const refusal = { __typename: "PolicyViolation", message: "FREEZE of orders", violations: [rule("FREEZE")], omitted: 0 };
    const { sentence, remedy, canForce } = describeRefusal(refusal, "Not applied");
    expect(sentence).toBe(
      "Not applied: orders is frozen: it takes changes before 2026-11-29T08:00:00Z or from 2026-11-29T11:00:00Z on (the books are closed).",
    );
    expect(remedy).toBe("Wait until 2026-11-29T11:00:00Z.");
    expect(canForce).toBe(true);
  });

  test("counts the other rules, names all, and each remedy once", () => {
    const violations = [rule("FREEZE"), rule("FREEZE", { namespace: "users" }), rule("PIN", { shardId: "orders-007", remedy: "Clear the pin" })];
    const { sentence, remedy, details } = describeRefusal({ violations, omitted: 4 });
    expect(sentence).toContain("and 6 more");
    expect(details).toHaveLength(3);
    expect(remedy).toBe("Wait until 2026-11-29T11:00:00Z. Clear the pin.");
  });

  test.each(["TICKET_REQUIRED", "TICKET_PATTERN", "APPROVAL_REQUIRED", "SELF_APPROVAL"])("does not offer force past %s", (name) => {
    expect(describeRefusal({ violations: [rule("FREEZE"), rule(name)] }).canForce).toBe(false);
  });

  test("a rule that it does not know is stated as it came", () => {
    expect(describeRefusal({ violations: [rule("NEW_RULE")] }).sentence).toContain("NEW_RULE of orders");
  });

  test("any other refusal has its message and what to do", () => {
    const refusal = { __typename: "VersionConflict", message: "orders/orders-007 is at version 3, not 2", conflicts: [] };
    expect(describeRefusal(refusal, "Not moved")).toMatchObject({
      sentence: "Not moved: orders/orders-007 is at version 3, not 2.",
      remedy: expect.stringContaining("decide again"),
      canRetry: true,
    });
  });

  test("of invalid input every field is named", () => {
    const errors = [{ field: "reason", message: "must not be blank" }, { field: "weight", message: "must be 1 or more" }];
    expect(describeRefusal({ __typename: "InvalidInput", errors }).details).toEqual(["reason must not be blank.", "weight must be 1 or more."]);
  });
});

describe("describeError", () => {
  test("says when to try again, and whether that is safe", () => {
    const error = new MeshError("the answer was lost", "COMMIT_UNKNOWN", { requestId: "r1", retryAfter: 1.2 });
    expect(describeError(error)).toMatchObject({
      remedy: expect.stringMatching(/safe.*2 s/),
      details: ["Request r1."],
      canRetry: true,
    });
  });
});
