import { readFileSync, readdirSync } from "node:fs";

import { describe, expect, test } from "vitest";

import { cacheOptions, persistedQueryOptions } from "../src/apollo.js";
import * as nodes from "../src/generated/documents.js";
import * as pages from "../src/generated/pages.js";
import * as trusted from "../src/generated/trusted.js";
import { compareRevisions, possibleTypes, toRevision } from "../src/index.js";
import { graphcacheOptions } from "../src/urql.js";

const manifest = JSON.parse(readFileSync("documents/manifest.json", "utf8")) as Record<string, string>;
const names = readdirSync("operations").map((file) => file.replace(".graphql", ""));

describe("what is generated", () => {
  test("has every operation under its id in the manifest", () => {
    expect(Object.keys(trusted).sort()).toEqual([...names].sort());
    for (const name of names) {
      expect((trusted as unknown as Record<string, { documentId: string }>)[name]?.documentId).toBe(manifest[name]);
      const parsed = (nodes as Record<string, unknown>)[`${name}Document`];
      expect(`sha256:${persistedQueryOptions.generateHash(parsed)}`).toBe(manifest[name]);
    }
  });

  test("has every operation on a page, or among those of programs", () => {
    const grouped = Object.values(pages).flatMap((group) => Object.keys(group));
    expect(new Set(grouped)).toEqual(new Set(names));
  });

  test("knows the members of every union", () => {
    expect(possibleTypes["ShardMutationResult"]).toContain("VersionConflict");
    expect(possibleTypes["Refusal"]).toContain("PolicyViolation");
  });

  test("caches the states of a shard apart, and does not normalise what has no key", () => {
    const shard = { __typename: "Shard", namespace: "orders", shardId: "orders-007", version: "2" };
    expect(graphcacheOptions.keys["Shard"]?.(shard)).not.toBe(graphcacheOptions.keys["Shard"]?.({ ...shard, version: "3" }));
    expect(graphcacheOptions.keys["Shard"]?.({ __typename: "Shard", shardId: "orders-007" })).toBeNull();
    expect(graphcacheOptions.keys["Pin"]?.({ by: "alice" })).toBeNull();
    expect(cacheOptions.typePolicies).toHaveProperty("Node");
  });
});

describe("revisions", () => {
  test("are compared as numbers, however long", () => {
    const sorted = ["9007199254740993", "10", "9", "9007199254740992"].map(toRevision).sort(compareRevisions);
    expect(sorted).toEqual(["9", "10", "9007199254740992", "9007199254740993"]);
  });

  test.each(["", "-1", "1.5", "r12", "12345678901234567890"])("%j is none", (text) => {
    expect(() => toRevision(text)).toThrow(TypeError);
  });
});
