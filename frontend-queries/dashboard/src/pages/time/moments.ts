/** Moments as addresses name them: a revision, or a time. */
import type { Revision } from "@omnirelay/mesh-queries";

export type Moment = { readonly type: "revision"; readonly revision: Revision } | { readonly type: "time"; readonly time: string };

/** Of an address or a field: `2055`, or a time, in UTC where it names no zone. Null where it is neither. */
export function momentFrom(written: string): Moment | null {
  const text = written.trim().replace(/^r(?=\d+$)/, "");
  if (/^\d+$/.test(text)) return { type: "revision", revision: text as Revision };
  const dated = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?))?\s*(Z|[+-]\d{2}:?\d{2})?$/i.exec(text);
  if (dated === null) return null;
  const time = `${dated[1]}T${dated[2] ?? "00:00"}${dated[3] ?? "Z"}`;
  return Number.isNaN(Date.parse(time)) ? null : { type: "time", time };
}

export const DAY_MS = 86_400_000;

/** What is looked at first, of history from `oldest` to `now`, as Date has them: a day ago, or the middle of less. */
export const openingOf = (oldest: number, now: number): number =>
  now - DAY_MS > oldest ? now - DAY_MS : oldest + Math.max(1, Math.floor((now - oldest) / 2));

/** The first instant after this one that the server can tell from it: it counts microseconds. */
export function justAfter(instant: string): string {
  const found = /^(.*T\d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))?\d*(Z|[+-]\d{2}:\d{2})$/.exec(instant);
  const micros = Number((found?.[2] ?? "").padEnd(6, "0")) + 1;
  if (found === null || micros > 999_999) return new Date(Date.parse(instant) + 1).toISOString();
  return `${found[1]}.${String(micros).padStart(6, "0")}${found[3]}`;
}
