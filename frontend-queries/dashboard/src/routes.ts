/** The pages: their addresses, and the module of each, which is loaded when it is first shown. */
import { lazy } from "react";
import type { ComponentType } from "react";

import { Unread } from "./components/unread.js";
import type { text } from "./text.js";

export interface Page {
  readonly name: keyof typeof text.pages;
  readonly path: string;
  /** Goes there after `g`. */
  readonly key: string;
  readonly routes: readonly { readonly pattern: string; readonly component: ComponentType }[];
}

/** A module that cannot be read, as after an upgrade, which gives it another name, would take the whole page with it. */
const pageOf = (read: () => Promise<{ default: ComponentType }>) => lazy(() => read().catch(() => ({ default: Unread })));

const Mesh = pageOf(() => import("./pages/mesh/index.js"));
const Live = pageOf(() => import("./pages/live/index.js"));
const Shards = pageOf(() => import("./pages/shards/index.js"));
const Time = pageOf(() => import("./pages/time/index.js"));
const Plans = pageOf(() => import("./pages/plans/index.js"));
const Governance = pageOf(() => import("./pages/governance/index.js"));

/** A page finds out by the address what of it is to be shown: `useParams` and `useQueryState`. */
export const pages: readonly Page[] = [
  { name: "mesh", path: "/", key: "m", routes: [{ pattern: "/", component: Mesh }] },
  { name: "live", path: "/live", key: "l", routes: [{ pattern: "/live", component: Live }] },
  {
    name: "shards",
    path: "/shards",
    key: "s",
    routes: [
      { pattern: "/shards", component: Shards },
      { pattern: "/shards/:namespace/:shardId", component: Shards },
    ],
  },
  { name: "time", path: "/time", key: "t", routes: [{ pattern: "/time", component: Time }] },
  {
    name: "plans",
    path: "/plans",
    key: "p",
    routes: [
      { pattern: "/plans", component: Plans },
      { pattern: "/plans/:planId", component: Plans },
    ],
  },
  { name: "governance", path: "/governance", key: "g", routes: [{ pattern: "/governance", component: Governance }] },
];
