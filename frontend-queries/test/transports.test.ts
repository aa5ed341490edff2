import { describe, expect, test } from "vitest";

import { MeshError, overEventStream, overWebSocket } from "../src/index.js";
import type { GraphqlWsClient, SubscriptionSink } from "../src/index.js";
import { StreamHead } from "../src/generated/trusted.js";
import { StreamHeadDocument } from "../src/generated/text.js";

const json = (body: unknown, status = 200): Response =>
  new Response(JSON.stringify(body), { status, headers: { "content-type": "application/graphql-response+json" } });

const stream = (...chunks: string[]): Response =>
  new Response(
    new ReadableStream({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
        controller.close();
      },
    }),
    { headers: { "content-type": "text/event-stream; charset=utf-8" } },
  );

function answering(response: Response) {
  const sent: { url: unknown; init: RequestInit }[] = [];
  const fetch = async (url: unknown, init: RequestInit = {}): Promise<Response> => {
    sent.push({ url, init });
    return response;
  };
  return { sent, options: { url: "/graphql", headers: { authorization: "Bearer t" }, fetch: fetch as typeof globalThis.fetch } };
}

const collected = (subscribe: (sink: SubscriptionSink<unknown>) => () => void): Promise<unknown[]> =>
  new Promise((resolve) => {
    const events: unknown[] = [];
    const over = (event: unknown): void => resolve([...events, event]);
    subscribe({
      opened: () => events.push("opened"),
      next: (result) => events.push(result),
      error: (error) => over(error),
      complete: () => over("complete"),
    });
  });

describe("requests", () => {
  test("name a trusted document by its id, and send its headers", async () => {
    const { sent, options } = answering(json({ data: { head: { revision: "7" } } }));
    expect(await overEventStream(options).request(StreamHead, {})).toEqual({ head: { revision: "7" } });
    expect(JSON.parse(sent[0]?.init.body as string)).toEqual({ documentId: StreamHead.documentId, variables: {} });
    expect(sent[0]?.init.headers).toMatchObject({ authorization: "Bearer t" });
  });

  test("send the text of any other document", async () => {
    const { sent, options } = answering(json({ data: {} }));
    await overEventStream(options).request(StreamHeadDocument, {});
    expect(JSON.parse(sent[0]?.init.body as string).query).toContain("query StreamHead");
  });

  test("are rejected with the code of the first error, and what came with it", async () => {
    const errors = [{ message: "too much at once", extensions: { code: "OVERLOADED", retryAfter: 2 } }];
    const { options } = answering(json({ errors }, 503));
    const failed = await overEventStream(options).request(StreamHead, {}).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: "OVERLOADED", retryAfterMs: 2000, isTransient: true, errors });
  });

  test("that a proxy answers without JSON are a lost connection", async () => {
    const { options } = answering(new Response("<h1>Bad gateway</h1>", { status: 502 }));
    await expect(overEventStream(options).request(StreamHead, {})).rejects.toMatchObject({ code: "CONNECTION_LOST" });
  });
});

describe("event streams", () => {
  test("are read whatever chunks they come in", async () => {
    const text = 'retry: 1000\n\nid: c8\nevent: next\ndata: {"data":{"n":1}}\n\n: ping\n\nevent: next\ndata: {"data":{"n":2}}\n\nevent: complete\ndata:\n\n';
    const { options } = answering(stream(...text));
    const events = await collected((sink) => overEventStream(options).subscribe(StreamHead, {}, sink));
    expect(events).toEqual(["opened", { n: 1 }, { n: 2 }, "complete"]);
  });

  test("end with the code of the error that a result has", async () => {
    const text = 'event: next\ndata: {"data":null,"errors":[{"message":"gone","extensions":{"code":"COMPACTED"}}]}\n\n';
    const { options } = answering(stream(text));
    const events = await collected((sink) => overEventStream(options).subscribe(StreamHead, {}, sink));
    expect(events.at(-1)).toMatchObject({ code: "COMPACTED" });
  });

  test("that end without `complete` are a lost connection", async () => {
    const { options } = answering(stream("retry: 1000\n\n"));
    const events = await collected((sink) => overEventStream(options).subscribe(StreamHead, {}, sink));
    expect(events.at(-1)).toMatchObject({ code: "CONNECTION_LOST" });
  });
});

describe("websockets", () => {
  function client() {
    let given: { payload: any; sink: any } | undefined;
    const made: GraphqlWsClient = {
      subscribe(payload, sink) {
        given = { payload, sink };
        return () => undefined;
      },
    };
    return { made, given: () => given! };
  }

  test.each([
    [1006, "CONNECTION_LOST", true],
    [1012, "CONNECTION_LOST", true],
    [4401, "UNAUTHENTICATED", false],
    [4400, "CLOSED", false],
  ])("closed with %i are %s", async (code, expected, isTransient) => {
    const { made, given } = client();
    const { options } = answering(json({}));
    const events = collected((sink) => overWebSocket({ ...options, client: made }).subscribe(StreamHead, {}, sink));
    given().sink.error({ code, reason: "why" });
    expect((await events).at(-1)).toMatchObject({ code: expected, isTransient });
  });

  test("name a trusted document by its id", () => {
    const { made, given } = client();
    const { options } = answering(json({}));
    const ignored = { next: () => undefined, error: () => undefined, complete: () => undefined };
    overWebSocket({ ...options, client: made }).subscribe(StreamHead, {}, ignored);
    expect(given().payload).toEqual({ query: "", documentId: StreamHead.documentId, variables: {} });
  });

  test("that are open already are said to be so to the next subscription", async () => {
    const listeners: Record<string, (() => void)[]> = { connected: [], closed: [] };
    const on = (event: string, listener: () => void) => {
      listeners[event]?.push(listener);
      return () => undefined;
    };
    const { made, given } = client();
    const { options } = answering(json({}));
    const transport = overWebSocket({ ...options, client: { ...made, on } });
    listeners["connected"]?.forEach((listener) => listener());
    const events = collected((sink) => transport.subscribe(StreamHead, {}, sink));
    await Promise.resolve();
    given().sink.complete();
    expect(await events).toEqual(["opened", "complete"]);
  });

  test("hand out errors as one MeshError, and nothing after it", async () => {
    const { made, given } = client();
    const { options } = answering(json({}));
    const events = collected((sink) => overWebSocket({ ...options, client: made }).subscribe(StreamHead, {}, sink));
    given().sink.error([{ message: "gone", extensions: { code: "COMPACTED" } }]);
    given().sink.next({ data: {} });
    expect(await events).toEqual([expect.any(MeshError)]);
  });
});
