/** A list that is read page by page: one page is in the document at a time, however far back it is gone. */
import type { MeshError, TrustedDocument } from "@omnirelay/mesh-queries";
import { useEffect, useRef, useState } from "react";

import { useRequest } from "./request.js";

export interface Page<Row> {
  readonly nodes: readonly Row[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
}

export interface Pages<Row> {
  /** Of this page; while it is read, of the one before. Null before there is any, and where it could not be read. */
  readonly rows: readonly Row[] | null;
  readonly error: MeshError | null;
  /** From 0, the newest. */
  readonly number: number;
  readonly hasOlder: boolean;
  /** Goes on by one, as soon as it is known where to: presses while a page is read are not lost. */
  older(): void;
  newer(): void;
  newest(): void;
}

/**
 * `variables` are those of the list without `first` and `after`; others begin at the newest again. The newest page is read
 * again where `again` is another value, a page further back is not: what is looked at stays.
 */
export function usePages<Result, Variables, Row>(
  document: TrustedDocument<Result, Variables>,
  variables: Omit<Variables, "first" | "after">,
  size: number,
  pageOf: (result: Result) => Page<Row>,
  again: unknown,
): Pages<Row> {
  const list = JSON.stringify(variables);
  const [place, setPlace] = useState<{ readonly list: string; readonly cursors: readonly string[]; readonly waiting: number }>({ list, cursors: [], waiting: 0 });
  const here = place.list === list ? place : { list, cursors: [], waiting: 0 };
  const after = here.cursors.at(-1) ?? null;
  const { data, error } = useRequest(document, { ...variables, first: size, after } as Variables, after === null ? again : "");
  const page = data === null ? null : pageOf(data);
  const latest = useRef<{ readonly list: string; readonly page: Page<Row> } | null>(null);
  if (page !== null) latest.current = { list, page };
  const shown = page ?? (error === null && latest.current?.list === list ? latest.current.page : null);
  const next = page?.pageInfo.hasNextPage ? page.pageInfo.endCursor : null;
  useEffect(() => {
    if (here.waiting === 0 || (page === null && error === null)) return;
    // By what is there then: more may have been pressed meanwhile.
    setPlace((before) => {
      if (before.list !== list || before.cursors.length !== here.cursors.length) return before;
      if (next === null) return { ...before, waiting: 0 };
      return { ...before, cursors: [...before.cursors, next], waiting: before.waiting - 1 };
    });
  });
  return {
    rows: shown?.nodes ?? null,
    error,
    number: here.cursors.length,
    hasOlder: shown?.pageInfo.hasNextPage ?? false,
    older: () => setPlace((before) => (before.list === list ? { ...before, waiting: before.waiting + 1 } : { list, cursors: [], waiting: 1 })),
    newer: () => setPlace((before) => (before.waiting > 0 ? { ...before, waiting: before.waiting - 1 } : { ...before, cursors: before.cursors.slice(0, -1) })),
    newest: () => setPlace({ list, cursors: [], waiting: 0 }),
  };
}
