/** What holds a plan up that is not made yet: freezes, budgets, windows and approval of the namespaces it moves shards of. */
import { NamespaceWindow } from "@omnirelay/mesh-queries/trusted";
import type { PreviewPlanQuery } from "@omnirelay/mesh-queries/trusted";

import { mesh } from "../../api/live.js";
import { Instant } from "../../components/instant.js";
import { useStore } from "../../lib/external.js";
import { useServerNow } from "../../lib/now.js";
import { useRequest } from "../../lib/request.js";
import { amount, durationOf } from "../../lib/time.js";
import type { MeshNamespace } from "../../store/mesh.js";
import { text } from "../../text.js";

const words = text.plans.inForce;

type Proposal = PreviewPlanQuery["simulateRebalance"];
type PlannedNamespace = Proposal["namespaces"][number];

/** `isInvoluntary`: it moves shards off nodes that are down, which a policy limits only if it has that too. */
export function InForce({ proposal, isInvoluntary }: { proposal: Proposal; isInvoluntary: boolean }) {
  useStore(mesh);
  const met = proposal.namespaces.flatMap((planned) => {
    const namespace = mesh.namespaces.get(planned.name);
    return planned.moved > 0 && namespace !== undefined ? [{ planned, namespace }] : [];
  });
  if (met.length === 0) return null;
  return (
    <section aria-label={words.label}>
      <ul className="in-force">
        {met.map(({ planned, namespace }) => (
          <Rules key={planned.name} planned={planned} namespace={namespace} isLimited={!isInvoluntary || namespace.policy.involuntaryMovesLimited} />
        ))}
      </ul>
    </section>
  );
}

function Rules({ planned, namespace, isLimited }: { planned: PlannedNamespace; namespace: MeshNamespace; isLimited: boolean }) {
  const { name, moved, shardCount } = planned;
  const { policy } = namespace;
  const freezes = isLimited ? (mesh.freezes.get(name) ?? []) : [];
  const now = useServerNow();
  const window = useRequest(NamespaceWindow, isLimited && policy.windowMoves !== null ? { name } : null, namespace.version);
  const use = window.data?.namespace?.windowUse ?? null;
  const frozen = freezes.find(({ begins, ends }) => Date.parse(begins) <= now && now < Date.parse(ends));
  const next = freezes.find(({ begins }) => Date.parse(begins) > now);
  const budget = Math.max(1, Math.ceil((shardCount * policy.moveBudgetPercent) / 100));
  return (
    <>
      {frozen && (
        <li>
          <span className="tag lost">{text.governance.frozen}</span> {words.frozen(name)} <Instant at={frozen.ends} />
          {`: "${frozen.reason}". ${words.afterwards}`}
        </li>
      )}
      {!frozen && next && (
        <li>
          {words.freezes(name)} <Instant at={next.begins} />
          {`: "${next.reason}".`}
        </li>
      )}
      {isLimited && moved > budget && <li>{words.budget(name, budget, amount(policy.moveBudgetPercent), moved)}</li>}
      {use && moved > use.allowed - use.used && (
        <li>
          {words.window(name, use.used, use.allowed, durationOf(policy.windowSeconds * 1000), moved)}
          {use.freeAt && (
            <>
              {` ${words.freeAt} `}
              <Instant at={use.freeAt} />.
            </>
          )}
        </li>
      )}
      {policy.approvalRequired && <li>{words.approval(name)}</li>}
    </>
  );
}
