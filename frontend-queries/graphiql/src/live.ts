/** A subscription as the response pane shows it: what came, the newest first. */
import type { ExecutionResult } from "graphql";
import { parse } from "graphql";
import type { DocumentNode } from "graphql";
import { createClient } from "graphql-ws";

/** Results that the pane holds; older ones leave it. */
const MOST_SHOWN = 100;

/** The pane is written anew with each: no more often than this. */
const PAUSE_MS = 200;

const LONGEST_WAIT_MS = 5_000;

interface Request {
  query: string;
  variables?: Record<string, unknown> | null;
  operationName?: string | null;
}

interface Sink {
  next(shown: unknown): void;
  error(error: unknown): void;
  complete(): void;
}

/** Follows an operation; returns what ends it. After a connection was lost it goes on after the newest cursor, if the
 * document has a variable for it. */
export function follow(url: string, headers: Record<string, unknown> | undefined, request: Request, sink: Sink): () => void {
  const received: ExecutionResult[] = [];
  let count = 0;
  let bookmarks = 0;
  let position: unknown;
  let state = "connecting";
  let timer: ReturnType<typeof setTimeout> | undefined;
  let ended = false;
  const variables: Record<string, unknown> = { ...request.variables };
  const resumes = takesCursor(request.query);

  const show = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const omitted = count - received.length;
    sink.next({
      status: `${state}; ${count} received, newest first${omitted > 0 ? `, ${omitted} older not shown` : ""}; ${bookmarks} bookmarks left out`,
      ...(position === undefined ? {} : { position }),
      received,
    });
  };
  const showSoon = (): void => {
    timer ??= setTimeout(show, PAUSE_MS);
  };
  const end = (then: () => void): void => {
    if (ended) return;
    ended = true;
    show();
    then();
    void client.dispose();
  };

  const client = createClient({
    url,
    connectionParams: headers,
    retryAttempts: Number.MAX_SAFE_INTEGER,
    shouldRetry: () => true, // a server that is down refuses connections, which is no close; fatal closes end it before
    retryWait: (attempts) => new Promise((resolve) => setTimeout(resolve, Math.min(LONGEST_WAIT_MS, 250 * 2 ** attempts))),
    on: {
      connected: () => {
        state = "live";
        showSoon();
      },
      closed: () => {
        if (ended) return;
        state = resumes ? "connection lost, trying again" : "connection lost, trying again (without $after changes are missed)";
        showSoon();
      },
    },
  });
  const payload = { query: request.query, operationName: request.operationName ?? undefined, variables };
  const unsubscribe = client.subscribe(payload, {
    next(result) {
      const batch = batchOf(result.data);
      if (batch !== undefined) {
        position = batch.position;
        if (resumes && typeof batch.position["cursor"] === "string") variables["after"] = batch.position["cursor"];
      }
      if (batch?.isBookmark) bookmarks += 1;
      else {
        count += 1;
        received.unshift(result as ExecutionResult);
        received.splice(MOST_SHOWN);
      }
      showSoon();
    },
    error: (cause) => {
      state = "ended";
      end(() => sink.error(readable(cause)));
    },
    complete: () => {
      state = "ended by the server";
      end(() => sink.complete());
    },
  });
  return () => {
    if (ended) return;
    state = "stopped";
    show();
    ended = true;
    unsubscribe();
    void client.dispose();
  };
}

interface Batch {
  /** What a batch has beside its changes. */
  position: Record<string, unknown>;
  isBookmark: boolean;
}

/** Of data with one field that is a batch; null where it is something else, or its changes are not selected. */
function batchOf(data: unknown): Batch | undefined {
  const fields = typeof data === "object" && data !== null ? Object.values(data) : [];
  const [field] = fields;
  if (fields.length !== 1 || typeof field !== "object" || field === null) return undefined;
  const lists = Object.entries(field).filter(([, value]) => Array.isArray(value)) as [string, unknown[]][];
  const [list] = lists;
  if (list === undefined || lists.length > 1) return undefined;
  const { [list[0]]: _, ...position } = field as Record<string, unknown>;
  return { position, isBookmark: list[1].length === 0 };
}

function takesCursor(query: string): boolean {
  let document: DocumentNode;
  try {
    document = parse(query, { noLocation: true });
  } catch {
    return false; // the server says why it is none
  }
  return document.definitions.some(
    (definition) =>
      definition.kind === "OperationDefinition" &&
      definition.variableDefinitions?.some(({ variable }) => variable.name.value === "after"),
  );
}

function readable(cause: unknown): unknown {
  if (cause instanceof CloseEvent) return new Error(`the server closed the connection: ${cause.code} ${cause.reason}`.trim());
  return cause instanceof Event ? new Error("the server cannot be reached") : cause;
}
