/** A time in the zone that is chosen; both zones are in its title. */
import { instantOf, momentOf, timeOf } from "../lib/time.js";
import { useZone } from "../lib/settings.js";

/** `as`: `time` is 03:19:58, `moment` 10:00Z or with its date where that is not today, `instant` with its date always. */
export function Instant({ at, as = "moment" }: { at: string; as?: "time" | "moment" | "instant" }) {
  const zone = useZone();
  const shown = as === "time" ? timeOf(at, zone) : as === "instant" ? instantOf(at, zone) : momentOf(at, zone);
  return (
    <time dateTime={at} title={`${instantOf(at, "utc")}\n${instantOf(at, "local")}`}>
      {shown}
    </time>
  );
}
