/** What changes must keep to, when nothing may be changed, what was refused, and the audit log. */
import { describeError, fromUnknown } from "@omnirelay/mesh-queries";
import type { MeshError } from "@omnirelay/mesh-queries";
import { GovernanceOverview } from "@omnirelay/mesh-queries/trusted";
import type { GovernanceOverviewQuery } from "@omnirelay/mesh-queries/trusted";
import { useEffect, useState } from "react";

import { changeLog } from "../../api/live.js";
import { transport } from "../../api/client.js";
import { Refused } from "../../components/deed.js";
import { useStore, useValue } from "../../lib/external.js";
import { useQueryState } from "../../lib/query.js";
import { token } from "../../lib/settings.js";
import { text } from "../../text.js";
import { AuditLog } from "./audit.js";
import { Calendar, FrozenNow } from "./calendar.js";
import { Refusals } from "./refusals.js";
import { Rules } from "./rules.js";
import "../../components/review.css";
import "./governance.css";

const words = text.governance;
const TABS = ["rules", "refusals", "audit"] as const;
const DAY_MS = 86_400_000;
export const DAYS = 14;

export type GovernedNamespace = GovernanceOverviewQuery["namespaces"]["nodes"][number];

export interface Governed {
  readonly namespaces: readonly GovernedNamespace[];
  readonly head: Pick<GovernanceOverviewQuery, "newestChange" | "newestRefusal">;
  /** The first of the days, at midnight UTC. */
  readonly from: number;
}

/** All namespaces, page by page; read again where one was configured, or a change was made. */
function useGoverned(): { governed: Governed | null; error: MeshError | null } {
  const again = useStore(changeLog).at(-1)?.id;
  const held = useValue(token);
  const [found, setFound] = useState<{ governed: Governed | null; error: MeshError | null }>({ governed: null, error: null });
  useEffect(() => {
    const controller = new AbortController();
    const from = Math.floor(Date.now() / DAY_MS) * DAY_MS;
    const range = { from: new Date(from).toISOString(), to: new Date(from + DAYS * DAY_MS).toISOString() };
    void (async () => {
      const namespaces: GovernedNamespace[] = [];
      for (let after: string | null = null; ; ) {
        const page: GovernanceOverviewQuery = await transport.request(GovernanceOverview, { ...range, after }, controller.signal);
        namespaces.push(...page.namespaces.nodes);
        if (controller.signal.aborted) return;
        if (!page.namespaces.pageInfo.hasNextPage) return setFound({ governed: { namespaces, head: page, from }, error: null });
        after = page.namespaces.pageInfo.endCursor ?? null;
      }
    })().catch((cause: unknown) => {
      if (!controller.signal.aborted) setFound((before) => ({ ...before, error: fromUnknown(cause) }));
    });
    return () => controller.abort();
  }, [again, held]);
  return found;
}

export default function GovernancePage() {
  const [query, change] = useQueryState();
  const tab = TABS.find((each) => each === query.get("tab")) ?? "rules";
  const { governed, error } = useGoverned();
  return (
    <>
      <div className="head">
        <h1>{words.heading}</h1>
        <span className="tabs" role="group" aria-label={words.tabsLabel}>
          {TABS.map((each) => (
            <button key={each} type="button" className="button" aria-pressed={tab === each} onClick={() => change({ tab: each === "rules" ? null : each })}>
              {words.tabs[each]}
            </button>
          ))}
        </span>
      </div>
      {governed && <FrozenNow namespaces={governed.namespaces} />}
      {error && governed === null && <Refused described={describeError(error, text.failed)} />}
      {tab === "rules" && governed && (
        <div className="stack">
          <Rules namespaces={governed.namespaces} />
          <Calendar governed={governed} />
        </div>
      )}
      {tab === "refusals" && <Refusals again={governed?.head.newestRefusal.nodes[0]?.id ?? ""} />}
      {tab === "audit" && <AuditLog head={governed?.head ?? null} />}
    </>
  );
}
