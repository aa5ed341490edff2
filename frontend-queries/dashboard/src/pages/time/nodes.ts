/** The nodes that were registered at a moment: where they were, their weight, and whether they might own shards. */
import { fromUnknown } from "@omnirelay/mesh-queries";
import type { MeshError } from "@omnirelay/mesh-queries";
import { NodesAsOf } from "@omnirelay/mesh-queries/trusted";
import type { NodesAsOfQuery } from "@omnirelay/mesh-queries/trusted";
import { useEffect, useState } from "react";

import { transport } from "../../api/client.js";
import type { Moment } from "./moments.js";

export type PastNode = NodesAsOfQuery["nodes"]["nodes"][number];

const PAGE = 500;

interface Found {
  readonly key: string;
  readonly nodes: ReadonlyMap<string, PastNode> | null;
  readonly error: MeshError | null;
}

/** Null before all of them are there; a null moment reads nothing. */
export function useNodesAsOf(moment: Moment | null): Pick<Found, "nodes" | "error"> {
  const key = moment === null ? "" : JSON.stringify(moment);
  const [found, setFound] = useState<Found>({ key: "", nodes: null, error: null });
  useEffect(() => {
    if (moment === null) return;
    const controller = new AbortController();
    const asOf = moment.type === "revision" ? { revision: moment.revision } : { time: moment.time };
    const nodes = new Map<string, PastNode>();
    void (async () => {
      for (let after: string | null = null; ; ) {
        const page: NodesAsOfQuery["nodes"] = (await transport.request(NodesAsOf, { asOf: asOf as never, first: PAGE, after }, controller.signal)).nodes;
        if (controller.signal.aborted) return;
        for (const node of page.nodes) nodes.set(node.nodeId, node);
        if (!page.pageInfo.hasNextPage) return setFound({ key, nodes, error: null });
        after = page.pageInfo.endCursor ?? null;
      }
    })().catch((cause: unknown) => {
      if (!controller.signal.aborted) setFound({ key, nodes: null, error: fromUnknown(cause) });
    });
    return () => controller.abort();
  }, [key]); // eslint-disable-line -- the key is the moment
  return key && found.key === key ? found : { nodes: null, error: null };
}
