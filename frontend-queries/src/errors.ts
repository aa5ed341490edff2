/** What went wrong with a request or a stream, in one class. */

/** A GraphQL error as the server sends it. `extensions.code` is one of those in docs/graphql-api.md. */
export interface MeshGraphQLError {
  readonly message: string;
  readonly path?: readonly (string | number)[];
  readonly extensions?: Readonly<Record<string, unknown>> & { readonly code?: string };
}

/** Codes after which a position in the stream cannot be gone on from: the list has to be read anew. */
export const POSITION_LOST: ReadonlySet<string> = new Set(["COMPACTED", "EPOCH_MISMATCH", "FUTURE_CURSOR", "BAD_CURSOR"]);

/** Codes of what may go well when it is tried again, with the same request. */
export const TRANSIENT: ReadonlySet<string> = new Set([
  "CONNECTION_LOST",
  "COMMIT_UNKNOWN",
  "COST_EXCEEDED",
  "FENCED",
  "INTERNAL",
  "LOCKED",
  "OVERLOADED",
  "REQUEST_TIMEOUT",
  "SCHEMA_OUT_OF_DATE",
  "STALE_READ",
  "TOO_MANY_CONNECTIONS",
  "TOO_MANY_OPERATIONS",
  "TRANSIENT_CONFLICT",
  "UNAVAILABLE",
]);

/** Of websockets, after which the same would happen again; docs/graphql-api.md, Closing. */
const FINAL_CLOSES: ReadonlySet<number> = new Set([1002, 1007, 1009, 4400, 4401, 4406, 4409, 4429]);

/**
 * A request that was not answered with data, or a stream that ended.
 *
 * `code` is that of the first error the server sent; `CONNECTION_LOST` where none came, `CLOSED` where a socket was
 * closed for good. `extensions` are those of the same error.
 */
export class MeshError extends Error {
  override readonly name = "MeshError";

  constructor(
    message: string,
    readonly code: string,
    readonly extensions: Readonly<Record<string, unknown>> = {},
    readonly errors: readonly MeshGraphQLError[] = [],
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** Whether the same may go well when it is tried again. */
  get isTransient(): boolean {
    return TRANSIENT.has(this.code) && !(this.code === "COST_EXCEEDED" && this.retryAfterMs === undefined);
  }

  /** How long the server would have the client wait, in milliseconds. */
  get retryAfterMs(): number | undefined {
    const seconds = this.extensions["retryAfter"];
    return typeof seconds === "number" ? seconds * 1000 : undefined;
  }
}

/** Of the errors of one answer, of which there is at least one. */
export function fromGraphQLErrors(errors: readonly MeshGraphQLError[]): MeshError {
  const first = errors[0];
  const extensions = first?.extensions ?? {};
  return new MeshError(first?.message ?? "The server sent no reason.", extensions.code ?? "INTERNAL", extensions, errors);
}

/** Of whatever a client library reports: a close event, an event without a code, errors of GraphQL, an exception. */
export function fromUnknown(cause: unknown): MeshError {
  if (cause instanceof MeshError) return cause;
  if (Array.isArray(cause) && cause.length > 0) return fromGraphQLErrors(cause as MeshGraphQLError[]);
  if (typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "number") {
    const { code } = cause;
    const reason = "reason" in cause && typeof cause.reason === "string" ? cause.reason : "";
    const message = reason || `the socket was closed with code ${code}`;
    if (code === 4401 || code === 4403) return new MeshError(message, "UNAUTHENTICATED", { close: code });
    const lost = FINAL_CLOSES.has(code) ? "CLOSED" : "CONNECTION_LOST";
    return new MeshError(message, lost, { close: code });
  }
  const message = cause instanceof Error && cause.message ? cause.message : "the server cannot be reached";
  return new MeshError(message, "CONNECTION_LOST", {}, [], { cause });
}
