/** What was refused or failed as a sentence for a person, and what can be done. */
import { MeshError } from "./errors.js";

/** A rule of a policy that a request would break, as BrokenRule has it. */
export interface BrokenRuleLike {
  readonly rule: string;
  readonly namespace: string;
  readonly shardId?: string | null;
  readonly actual: string;
  readonly allowed: string;
  readonly remedy: string;
}

/** A member of a mutation's result that is a refusal, with what an operation selected of it; any more is not looked at. */
export interface RefusalLike {
  readonly __typename?: string;
  readonly message?: string;
  readonly violations?: readonly (BrokenRuleLike | { readonly message: string })[];
  readonly omitted?: number;
  readonly conflicts?: readonly unknown[];
  readonly errors?: readonly { readonly field: string; readonly message: string }[];
}

export interface Description {
  /** One sentence or more: what happened, and why. */
  readonly sentence: string;
  /** What can be done about it. */
  readonly remedy: string;
  /** Everything that was found, where that is more than the sentence names. */
  readonly details: readonly string[];
  /** Whether `change.force` with a reason makes the change nevertheless; it takes the scope mesh.admin. */
  readonly canForce: boolean;
  /** Whether the same request may go well later, or after what it names was read anew. */
  readonly canRetry: boolean;
}

/** The rules that `change.force` does not lift. */
const NEVER_FORCED: ReadonlySet<string> = new Set([
  "TICKET_REQUIRED",
  "TICKET_PATTERN",
  "APPROVAL_REQUIRED",
  "SELF_APPROVAL",
]);

const RULE_SENTENCES: Readonly<Record<string, (rule: BrokenRuleLike) => string>> = {
  TICKET_REQUIRED: ({ namespace }) => `${namespace} takes changes under a ticket only`,
  TICKET_PATTERN: ({ namespace, actual, allowed }) => `${namespace} takes no such ticket: ${actual}; allowed: ${allowed}`,
  APPROVAL_REQUIRED: ({ namespace }) => `${namespace} takes a plan only once it is approved`,
  SELF_APPROVAL: ({ namespace }) => `in ${namespace} a plan is approved by someone other than its author`,
  MOVE_BUDGET: ({ namespace, actual, allowed }) => `${namespace} allows less in one change: ${actual}; allowed: ${allowed}`,
  WINDOW_BUDGET: ({ namespace, actual, allowed }) => `${namespace} has had its moves for now: ${actual}; allowed: ${allowed}`,
  SHARD_THRASH: (rule) => `${nameOf(rule)} was moved too often of late: ${rule.actual}; allowed: ${rule.allowed}`,
  FREEZE: ({ namespace, allowed }) => `${namespace} is frozen: it takes ${allowed}`,
  PIN: (rule) => `${nameOf(rule)} is pinned: ${rule.actual}; allowed: ${rule.allowed}`,
  ANTI_AFFINITY: (rule) => `${nameOf(rule)} would share an owner with its group: ${rule.actual}; allowed: ${rule.allowed}`,
};

const REMEDIES: Readonly<Record<string, string>> = {
  DrainBlocked: "Move or unpin what stands in the way, or accept that it stays.",
  IdempotencyKeyReused: "Use a new key for a new request.",
  InvalidInput: "Mend what is named and send it again.",
  NamespaceVersionConflict: "Look at what is there now, then decide again.",
  NodeInUse: "Drain the node first, and apply a plan that vacates it.",
  NodeVersionConflict: "Look at what is there now, then decide again.",
  NotFound: "Check the name; it may have been removed meanwhile.",
  PlacementImpossible: "Add nodes, or change what the strategy requires.",
  PlanClosed: "Look at the plan as it is now, or make a new one.",
  StalePlan: "Make a new plan: it starts from what is there now.",
  VersionConflict: "Look at what is there now, then decide again.",
};

const RETRIED: ReadonlySet<string> = new Set(["VersionConflict", "NodeVersionConflict", "NamespaceVersionConflict"]);

const ERROR_REMEDIES: Readonly<Record<string, string>> = {
  CLOSED: "Reload the page.",
  COMMIT_UNKNOWN: "Asking again is safe: with the same key the change is made once.",
  COMPACTED: "Read the list anew.",
  CONNECTION_LOST: "It is tried again; nothing is lost.",
  COST_EXCEEDED: "Ask for less at once.",
  DOCUMENT_NOT_TRUSTED: "This page and the server are of different versions: reload the page.",
  EPOCH_MISMATCH: "Read the list anew.",
  FORBIDDEN: "Use a token that has this scope.",
  INTERNAL: "Report the request id to the operators of the server.",
  LOCKED: "Wait a moment and try again.",
  OVERLOADED: "Wait a moment and try again.",
  PERSISTED_QUERY_NOT_FOUND: "This page and the server are of different versions: reload the page.",
  STALE_READ: "Try again shortly.",
  TRANSIENT_CONFLICT: "Nothing was written. Try again.",
  UNAUTHENTICATED: "Use another token.",
  UNAVAILABLE: "Nothing was written. Try again shortly.",
};

const nameOf = ({ namespace, shardId }: BrokenRuleLike): string => (shardId ? `${namespace}/${shardId}` : namespace);

const isRule = (value: BrokenRuleLike | { readonly message: string }): value is BrokenRuleLike => "rule" in value;

const sentenceOf = (rule: BrokenRuleLike): string =>
  RULE_SENTENCES[rule.rule]?.(rule) ?? `${rule.rule} of ${nameOf(rule)}: ${rule.actual}; allowed: ${rule.allowed}`;

// Not capitalised: it may begin with a name.
const asSentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);

/** A refusal of a mutation as a person reads it. `verb` is what was not done, such as "Not applied". */
export function describeRefusal(refusal: RefusalLike, verb = "Not done"): Description {
  const rules = (refusal.violations ?? []).filter(isRule);
  const kind = refusal.__typename ?? "";
  if (rules.length > 0) {
    const more = rules.length - 1 + (refusal.omitted ?? 0);
    const sentence = sentenceOf(rules[0] as BrokenRuleLike) + (more > 0 ? `, and ${more} more` : "");
    const canForce = rules.every(({ rule }) => !NEVER_FORCED.has(rule));
    const remedies = [...new Set(rules.map(({ remedy }) => asSentence(remedy)))].slice(0, 3);
    return {
      sentence: `${verb}: ${asSentence(sentence)}`,
      remedy: remedies.join(" "),
      details: rules.map((rule) => asSentence(sentenceOf(rule))),
      canForce,
      canRetry: false,
    };
  }
  const fields = (refusal.errors ?? []).map(({ field, message }) => `${field} ${message}`);
  const messages = (refusal.violations ?? []).map((each) => ("message" in each ? each.message : ""));
  return {
    sentence: `${verb}: ${asSentence(refusal.message ?? fields[0] ?? "the server gave no reason")}`,
    remedy: REMEDIES[kind] ?? "",
    details: [...fields, ...messages].filter(Boolean).map(asSentence),
    canForce: false,
    canRetry: RETRIED.has(kind),
  };
}

/** A request that failed as a person reads it. */
export function describeError(error: unknown, verb = "Not done"): Description {
  const known = error instanceof MeshError ? error : undefined;
  const code = known?.code ?? "INTERNAL";
  const message = known?.message ?? (error instanceof Error ? error.message : String(error));
  const requestId = known?.extensions["requestId"];
  const wait = known?.retryAfterMs === undefined ? "" : ` Try again in ${Math.ceil(known.retryAfterMs / 1000)} s.`;
  return {
    sentence: `${verb}: ${asSentence(message)}`,
    remedy: (ERROR_REMEDIES[code] ?? "") + wait,
    details: typeof requestId === "string" ? [`Request ${requestId}.`] : [],
    canForce: false,
    canRetry: known?.isTransient ?? false,
  };
}
