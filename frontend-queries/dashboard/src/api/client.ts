/** The ways to the server: urql for queries and mutations, a transport for what is followed. Documents go by their ids. */
import { MeshError, fromUnknown, overEventStream, overWebSocket } from "@omnirelay/mesh-queries";
import type { MeshTransport } from "@omnirelay/mesh-queries";
import type { TrustedDocument } from "@omnirelay/mesh-queries";
import { createClient as createSocketClient } from "graphql-ws";
import { Client, fetchExchange } from "urql";
import type { CombinedError, TypedDocumentNode } from "urql";

import { ENDPOINT } from "../lib/base.js";
import { Value } from "../lib/external.js";
import { token } from "../lib/settings.js";

const headers = (): Record<string, string> => {
  const held = token.get();
  return held ? { authorization: `Bearer ${held}` } : {};
};

export const client = new Client({
  url: ENDPOINT.href,
  exchanges: [fetchExchange],
  preferGetMethod: false,
  requestPolicy: "network-only",
  fetchOptions: () => ({ headers: headers() }),
});

/** A trusted document as urql's hooks take it. */
export const typed = <Result, Variables extends object>(
  document: TrustedDocument<Result, Variables>,
): TypedDocumentNode<Result, Variables> => document as unknown as TypedDocumentNode<Result, Variables>;

export function toMeshError(error: CombinedError): MeshError {
  if (error.graphQLErrors.length > 0) {
    const errors = error.graphQLErrors.map(({ message, extensions }) => ({ message, extensions }));
    return fromUnknown(errors);
  }
  return fromUnknown(error.networkError ?? error);
}

const socket = new URL(ENDPOINT);
socket.protocol = socket.protocol === "https:" ? "wss:" : "ws:";

/** A socket that nothing answers on, as after the machine slept, is closed after these two together. */
const PING_MS = 10_000;
const PONG_MS = 5_000;

let unanswered: ReturnType<typeof setTimeout> | undefined;

const socketClient = createSocketClient({
  url: socket.href,
  connectionParams: () => headers(),
  retryAttempts: 0, // followShards comes back by itself, with another cursor
  keepAlive: PING_MS,
  on: {
    ping(received) {
      if (!received) unanswered = setTimeout(() => socketClient.terminate(), PONG_MS);
    },
    pong(received) {
      if (received) clearTimeout(unanswered);
    },
    closed: () => clearTimeout(unanswered),
  },
});

const options = { url: ENDPOINT, headers };
const websocket = overWebSocket({ ...options, client: socketClient });
const eventStream = overEventStream(options);

/** Attempts with a websocket before an event stream is tried, where none was ever open. */
const SOCKET_ATTEMPTS = 2;

let hasOpened = false;
let failures = 0;

/** Whether the server has answered that it does not have a document of this page: the page is of another version. */
export const isOutdated = new Value(false);

/** The second is the code where a server takes trusted documents alone. */
const OUTDATED: ReadonlySet<string> = new Set(["PERSISTED_QUERY_NOT_FOUND", "DOCUMENT_NOT_TRUSTED"]);

function note(error: unknown): void {
  if (error instanceof MeshError && OUTDATED.has(error.code)) isOutdated.set(true);
}

/** Websockets; event streams in turn with them where a proxy lets no websocket through. */
export const transport: MeshTransport = {
  async request(document, variables, signal) {
    try {
      return await websocket.request(document, variables, signal);
    } catch (cause) {
      note(cause);
      throw cause;
    }
  },
  subscribe(document, variables, sink) {
    const useStream = !hasOpened && failures >= SOCKET_ATTEMPTS && failures % 2 === 0;
    return (useStream ? eventStream : websocket).subscribe(document, variables, {
      ...sink,
      opened() {
        if (!useStream) hasOpened = true;
        sink.opened?.();
      },
      error(error) {
        if (!hasOpened) failures += 1;
        note(error);
        sink.error(error);
      },
    });
  },
};

/** The socket is closed with the token it was opened with; another is opened when it is needed. */
token.subscribe(() => socketClient.terminate());
