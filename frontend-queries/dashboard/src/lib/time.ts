/** Times and numbers as text. */
import type { Zone } from "./settings.js";

const ZONES = { utc: "UTC", local: undefined } as const;

const clocks = new Map<string, Intl.DateTimeFormat>();

function clock(zone: Zone, parts: "time" | "date" | "short"): Intl.DateTimeFormat {
  const key = `${zone} ${parts}`;
  let found = clocks.get(key);
  if (found === undefined) {
    const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" } as const;
    const date = { year: "numeric", month: "2-digit", day: "2-digit" } as const;
    const chosen = parts === "time" ? time : parts === "date" ? date : ({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" } as const);
    found = new Intl.DateTimeFormat("en-CA", { ...chosen, timeZone: ZONES[zone] });
    clocks.set(key, found);
  }
  return found;
}

/** `03:19:58`. */
export const timeOf = (instant: string, zone: Zone): string => clock(zone, "time").format(new Date(instant));

/** `2026-11-27`. */
export const dateOf = (instant: string, zone: Zone): string => clock(zone, "date").format(new Date(instant));

/** `2026-11-27 10:00`, with a Z in UTC. */
export const instantOf = (instant: string, zone: Zone): string =>
  `${dateOf(instant, zone)} ${clock(zone, "short").format(new Date(instant))}${zone === "utc" ? "Z" : ""}`;

/** `10:00Z`, with the date before it where that is not today. */
export function momentOf(instant: string, zone: Zone, now = Date.now()): string {
  const isToday = dateOf(instant, zone) === dateOf(new Date(now).toISOString(), zone);
  return isToday ? instantOf(instant, zone).slice(11) : instantOf(instant, zone);
}

const STEPS = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
  ["s", 1],
] as const;

/** `12 min`, `2 h`, `3 d`: the largest unit of which there are two, seconds at the least. */
export function durationOf(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  for (const [unit, length] of STEPS) {
    if (seconds >= 2 * length || length === 1) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return "0 s";
}

const whole = new Intl.NumberFormat("en");
const fraction = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const ratio = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const count = (value: number): string => whole.format(value);
export const amount = (value: number): string => fraction.format(value);
export const ratioOf = (value: number): string => ratio.format(value);
