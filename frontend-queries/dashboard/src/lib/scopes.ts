/** What the token may do: an action that it may not is not offered. */
import { viewer } from "../api/live.js";
import { useValue } from "./external.js";

export type Scope = "mesh.operate" | "mesh.approve" | "mesh.admin" | "mesh.audit";

/** False before it is known. */
export function useMay(): (scope: Scope) => boolean {
  const asking = useValue(viewer);
  return (scope) => asking?.scopes.includes(scope) ?? false;
}
