/** How operations reach the server: fetch, and for subscriptions a websocket or an event stream. */
import type { MeshDocument } from "./documents.js";
import { named } from "./documents.js";
import { MeshError, fromGraphQLErrors, fromUnknown } from "./errors.js";
import type { MeshGraphQLError } from "./errors.js";

/** What is told of a subscription; after `error` or `complete` nothing more is. */
export interface SubscriptionSink<Result> {
  /** The server has it, or it was sent: what comes next are results. */
  opened?(): void;
  next(result: Result): void;
  error(error: MeshError): void;
  /** The server has ended it; it is not resumed by itself. */
  complete(): void;
}

/** A way to the server. Neither method retries. */
export interface MeshTransport {
  /** The data of an answer. Rejects with a MeshError. */
  request<Result, Variables>(
    document: MeshDocument<Result, Variables>,
    variables: Variables,
    signal?: AbortSignal,
  ): Promise<Result>;
  /** Returns what ends the subscription; the sink hears nothing after that. */
  subscribe<Result, Variables>(
    document: MeshDocument<Result, Variables>,
    variables: Variables,
    sink: SubscriptionSink<Result>,
  ): () => void;
}

export interface RequestOptions {
  /** Address of the endpoint, such as `/graphql`. */
  url: string | URL;
  /** Added to each request; a function is called for each, so that a token may change. */
  headers?: Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>);
  fetch?: typeof fetch;
}

interface Answer {
  data?: unknown;
  errors?: readonly MeshGraphQLError[];
}

/** A client of npm graphql-ws, as far as it is used here. It must not retry by itself: `retryAttempts: 0`. */
export interface GraphqlWsClient {
  subscribe(
    payload: { query: string; variables?: Record<string, unknown> | null; extensions?: Record<string, unknown> | null },
    sink: {
      next(value: { data?: unknown; errors?: unknown }): void;
      error(error: unknown): void;
      complete(): void;
    },
  ): () => void;
  on?(event: "connected" | "closed", listener: () => void): () => void;
}

/** Queries and mutations over fetch, subscriptions over a client of graphql-ws that the caller has made. */
export function overWebSocket(options: RequestOptions & { client: GraphqlWsClient }): MeshTransport {
  const { client } = options;
  let isConnected = false;
  client.on?.("connected", () => {
    isConnected = true;
  });
  client.on?.("closed", () => {
    isConnected = false;
  });
  return {
    request: (document, variables, signal) => requestOverFetch(options, document, variables, signal),
    subscribe(document, variables, sink) {
      let ended = false;
      const opened = (): void => {
        if (!ended) sink.opened?.();
      };
      // Of a socket that other subscriptions have opened before nothing more is heard.
      const stopped = client.on?.("connected", opened);
      if (isConnected) queueMicrotask(opened);
      const end = (then: () => void): void => {
        if (ended) return;
        ended = true;
        stopped?.();
        then();
      };
      // The library requires a text; the server takes an empty one beside an id for none.
      const payload = { query: "", ...named(document), variables: variables as Record<string, unknown> };
      const dispose = client.subscribe(payload, {
        next({ data, errors }) {
          if (ended) return;
          if (Array.isArray(errors) && errors.length > 0) end(() => sink.error(fromGraphQLErrors(errors)));
          else sink.next(data as never);
        },
        error: (cause) => end(() => sink.error(fromUnknown(cause))),
        complete: () => end(() => sink.complete()),
      });
      return () => {
        end(() => undefined);
        dispose();
      };
    },
  };
}

/** Everything over fetch, subscriptions as event streams (distinct connections mode), with headers, unlike EventSource. */
export function overEventStream(options: RequestOptions): MeshTransport {
  return {
    request: (document, variables, signal) => requestOverFetch(options, document, variables, signal),
    subscribe(document, variables, sink) {
      const controller = new AbortController();
      const { signal } = controller;
      void (async () => {
        try {
          const response = await post(options, document, variables, "text/event-stream", signal);
          if (!response.headers.get("content-type")?.startsWith("text/event-stream") || response.body === null) {
            throw refusedWith(response, await readJson(response));
          }
          sink.opened?.();
          for await (const { event, data } of eventsOf(response.body)) {
            if (signal.aborted) return;
            if (event === "complete") return sink.complete();
            if (event !== "next") continue;
            const result = JSON.parse(data) as Answer;
            if (result.errors?.length) throw fromGraphQLErrors(result.errors);
            sink.next(result.data as never);
          }
          // No `complete`: the server is stopping, or the connection broke.
          if (!signal.aborted) throw new MeshError("the stream ended", "CONNECTION_LOST");
        } catch (cause) {
          if (!signal.aborted) sink.error(fromUnknown(cause));
        } finally {
          controller.abort(); // what is left of the body is not wanted
        }
      })();
      return () => controller.abort();
    },
  };
}

/** The events of a stream in the order they came. https://html.spec.whatwg.org/multipage/server-sent-events.html */
async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<{ event: string; data: string }> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  // A batch of 256 KiB comes in many chunks: what is searched for line ends is each chunk, once.
  let pieces: string[] = [];
  let event = "";
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = decoder.decode(value, { stream: true }).split("\n");
      for (let index = 0; index < lines.length; index += 1) {
        pieces.push(lines[index] ?? "");
        if (index === lines.length - 1) break; // not ended yet
        const line = pieces.join("").replace(/\r$/, "");
        pieces = [];
        if (line === "") {
          if (event || data.length > 0) yield { event: event || "message", data: data.join("\n") };
          event = "";
          data = [];
        } else if (line.startsWith("event:")) event = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      }
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

async function requestOverFetch<Result, Variables>(
  options: RequestOptions,
  document: MeshDocument<Result, Variables>,
  variables: Variables,
  signal?: AbortSignal,
): Promise<Result> {
  const response = await post(options, document, variables, "application/graphql-response+json", signal);
  const answer = await readJson(response);
  if (answer?.errors?.length) throw refusedWith(response, answer);
  if (answer?.data === undefined || answer.data === null) throw refusedWith(response, answer);
  return answer.data as Result;
}

async function post<Result, Variables>(
  options: RequestOptions,
  document: MeshDocument<Result, Variables>,
  variables: Variables,
  accept: string,
  signal?: AbortSignal,
): Promise<Response> {
  const given = typeof options.headers === "function" ? await options.headers() : options.headers;
  try {
    return await (options.fetch ?? fetch)(options.url, {
      method: "POST",
      headers: { ...given, accept, "content-type": "application/json" },
      body: JSON.stringify({ ...named(document), variables }),
      signal: signal ?? null,
    });
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    throw fromUnknown(cause);
  }
}

async function readJson(response: Response): Promise<Answer | undefined> {
  try {
    return (await response.json()) as Answer;
  } catch {
    return undefined;
  }
}

function refusedWith(response: Response, answer: Answer | undefined): MeshError {
  if (answer?.errors?.length) return fromGraphQLErrors(answer.errors);
  const message = `the server answered ${response.status} ${response.statusText}`.trim();
  // Of a proxy before it, most likely: 502, 503 and 504 while a server restarts.
  return new MeshError(message, response.status >= 500 || response.status === 429 ? "CONNECTION_LOST" : "BAD_REQUEST");
}
