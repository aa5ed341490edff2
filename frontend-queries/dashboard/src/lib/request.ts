/** What a page reads once, and again where its variables or the store change. */
import { fromUnknown } from "@omnirelay/mesh-queries";
import type { MeshError, TrustedDocument } from "@omnirelay/mesh-queries";
import { useEffect, useState } from "react";

import { transport } from "../api/client.js";
import { useValue } from "./external.js";
import { token } from "./settings.js";

export interface Answer<Result> {
  /** The last answer to these variables; null before it is there. */
  readonly data: Result | null;
  readonly error: MeshError | null;
  readonly isReading: boolean;
}

/**
 * Asks again where `again` is another value: what was answered stays until then. Null variables ask nothing. An answer to
 * other variables is not shown.
 */
export function useRequest<Result, Variables>(
  document: TrustedDocument<Result, Variables>,
  variables: Variables | null,
  again: unknown = 0,
): Answer<Result> {
  const held = useValue(token);
  const key = variables === null ? "" : JSON.stringify(variables);
  const [answer, setAnswer] = useState<{ key: string; data: Result | null; error: MeshError | null }>({ key: "", data: null, error: null });
  const [isReading, setReading] = useState(false);
  useEffect(() => {
    if (!key) return;
    const controller = new AbortController();
    setReading(true);
    transport.request(document, JSON.parse(key) as Variables, controller.signal).then(
      (data) => {
        if (controller.signal.aborted) return;
        setAnswer({ key, data, error: null });
        setReading(false);
      },
      (cause: unknown) => {
        if (controller.signal.aborted) return;
        setAnswer((before) => ({ key, data: before.key === key ? before.data : null, error: fromUnknown(cause) }));
        setReading(false);
      },
    );
    return () => controller.abort();
  }, [document, key, again, held]);
  return answer.key === key ? { ...answer, isReading } : { data: null, error: null, isReading: true };
}
