/** Freezes: what is frozen now in a sentence, and fourteen days with a row a namespace. */
import { Fragment } from "react";

import { Instant } from "../../components/instant.js";
import { useServerNow } from "../../lib/now.js";
import { useZone } from "../../lib/settings.js";
import { instantOf } from "../../lib/time.js";
import { text } from "../../text.js";
import { DAYS } from "./index.js";
import type { Governed, GovernedNamespace } from "./index.js";

const words = text.governance;
const DAY_MS = 86_400_000;

const weekday = new Intl.DateTimeFormat("en", { weekday: "short", day: "numeric", timeZone: "UTC" });

export function FrozenNow({ namespaces }: { namespaces: readonly GovernedNamespace[] }) {
  const now = useServerNow();
  const all = namespaces
    .flatMap(({ name, freezesBetween }) => freezesBetween.map((each) => ({ name, ...each })))
    .sort((left, right) => Date.parse(left.begins) - Date.parse(right.begins));
  const frozen = all.filter(({ begins, ends }) => Date.parse(begins) <= now && now < Date.parse(ends));
  const next = all.find(({ begins }) => Date.parse(begins) > now);
  if (frozen.length > 0) {
    return (
      <p className="frozen-now is">
        <span className="tag lost">{words.frozen}</span>{" "}
        {frozen.map(({ name, ends, reason }, index) => (
          <Fragment key={`${name} ${ends}`}>
            {index > 0 && "; "}
            <strong>{name}</strong> {words.until} <Instant at={ends} /> {`(${reason})`}
          </Fragment>
        ))}
      </p>
    );
  }
  return (
    <p className="frozen-now">
      {words.calm}
      {next && (
        <span className="quiet">
          {` ${words.next} ${next.name} `}
          <Instant at={next.begins} /> {words.until} <Instant at={next.ends} /> {`(${next.reason})`}
        </span>
      )}
    </p>
  );
}

export function Calendar({ governed }: { governed: Governed }) {
  const { namespaces, from } = governed;
  const zone = useZone();
  const now = useServerNow();
  const length = DAYS * DAY_MS;
  const part = (at: number): number => Math.min(100, Math.max(0, (100 * (at - from)) / length));
  const days = Array.from({ length: DAYS }, (_, index) => from + index * DAY_MS);
  const shown = namespaces.flatMap(({ name, freezesBetween }) => freezesBetween.map((each) => ({ name, ...each })));
  const recurring = namespaces.flatMap(({ name, policy }) => policy.recurringFreezes.map((each) => ({ name, ...each })));
  return (
    <section aria-labelledby="calendar">
      <h2 id="calendar">{words.calendar}</h2>
      <div className="scroll-x" role="group" aria-label={words.calendarBars} tabIndex={0}>
        <div className="calendar" aria-hidden="true">
          <span />
          <div className="days">
            {days.map((day) => (
              <span key={day} className={[0, 6].includes(new Date(day).getUTCDay()) ? "weekend quiet" : "quiet"}>
                {weekday.format(day)}
              </span>
            ))}
          </div>
          {namespaces.map(({ name, freezesBetween }) => (
            <Fragment key={name}>
              <span className="cut name">{name}</span>
              <div className="lane">
                {freezesBetween.map(({ begins, ends, reason }) => {
                  const [left, right] = [part(Date.parse(begins)), part(Date.parse(ends))];
                  return (
                    <span
                      key={`${begins} ${reason}`}
                      className="freeze"
                      title={words.freeze(name, instantOf(begins, zone), instantOf(ends, zone), reason)}
                      style={{ left: `${left}%`, width: `max(3px, ${right - left}%)` }}
                    >
                      <span className="cut">{reason}</span>
                    </span>
                  );
                })}
                <span className="now-line" style={{ left: `${part(now)}%` }} />
              </div>
            </Fragment>
          ))}
        </div>
      </div>
      {shown.length === 0 ? (
        <p className="quiet calendar-words">{words.calendarEmpty}</p>
      ) : (
        <ul className="calendar-words" aria-label={words.freezes}>
          {shown.slice(0, 40).map(({ name, begins, ends, reason }) => (
            <li key={`${name} ${begins} ${reason}`}>
              <strong>{name}</strong> <Instant at={begins} as="instant" /> {words.until} <Instant at={ends} as="instant" />{" "}
              <span className="quiet wrap-anywhere">{reason}</span>
            </li>
          ))}
          {shown.length > 40 && <li className="quiet">{text.find.more(shown.length - 40)}</li>}
        </ul>
      )}
      {recurring.length > 0 && (
        <>
          <h3>{words.recurringTitle}</h3>
          <ul className="calendar-words">
            {recurring.map(({ name, schedule, duration, timeZone, reason, until }) => (
              <li key={`${name} ${schedule} ${reason}`}>
                <strong>{name}</strong> <span className="mono">{words.recurring(schedule, duration, timeZone)}</span>
                {until && (
                  <>
                    {` ${words.until} `}
                    <Instant at={until} as="instant" />
                  </>
                )}{" "}
                <span className="quiet wrap-anywhere">{reason}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}
