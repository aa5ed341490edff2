/** What an address says after its `?`. A filter replaces the entry of history, a page adds one. */
import { useCallback, useMemo } from "react";
import { useLocation, useSearch } from "wouter";

/** The parameters, and what changes some of them: null or an empty string takes one away. */
export function useQueryState(): [URLSearchParams, (changed: Readonly<Record<string, string | null>>) => void] {
  const search = useSearch();
  const [location, navigate] = useLocation();
  const parameters = useMemo(() => new URLSearchParams(search), [search]);
  const change = useCallback(
    (changed: Readonly<Record<string, string | null>>): void => {
      const next = new URLSearchParams(window.location.search);
      for (const [name, value] of Object.entries(changed)) {
        if (value) next.set(name, value);
        else next.delete(name);
      }
      const text = next.toString();
      navigate(text ? `${location}?${text}` : location, { replace: true });
    },
    [location, navigate],
  );
  return [parameters, change];
}

export const shardPath = (namespace: string, shardId: string): string =>
  `/shards/${encodeURIComponent(namespace)}/${encodeURIComponent(shardId)}`;
