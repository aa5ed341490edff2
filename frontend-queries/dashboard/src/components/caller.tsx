/** Who asks, and how this browser shows things: a token, an actor, colours, times, shortcuts. */
import { useState } from "react";

import { viewer } from "../api/live.js";
import { useValue } from "../lib/external.js";
import type { Value } from "../lib/external.js";
import { actor, setToken, shortcuts, theme, token, zone } from "../lib/settings.js";
import { text } from "../text.js";
import { Dialog } from "./dialog.js";
import { Instant } from "./instant.js";

const words = text.caller;

export function CallerButton({ onOpen }: { onOpen(): void }) {
  const asking = useValue(viewer);
  const named = useValue(actor);
  return (
    <button type="button" className="button plain caller" onClick={onOpen} title={words.title}>
      <span className="cut">{asking?.subject ?? (named || words.anonymous)}</span>
    </button>
  );
}

export function CallerDialog({ onClose }: { onClose(): void }) {
  const held = useValue(token);
  const [given, setGiven] = useState("");
  const [inTab, setInTab] = useState(false);
  const [named, setNamed] = useState(actor.get());
  const asking = useValue(viewer);
  return (
    <Dialog title={words.title} onClose={onClose}>
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (given.trim()) setToken(given, inTab);
          actor.set(named.trim());
          onClose();
        }}
      >
        <label className="field">
          <span>{words.token}</span>
          <input
            className="input"
            type="password"
            autoComplete="off"
            spellCheck={false}
            value={given}
            onChange={(event) => setGiven(event.target.value)}
          />
          <small>{held ? `${words.holds} ${words.tokenHint}` : words.tokenHint}</small>
          {asking?.authRequired && <small>{words.scopes(asking.scopes.join(", "))}</small>}
          {asking?.expiresAt && (
            <small>
              {words.expires} <Instant at={asking.expiresAt} />
            </small>
          )}
        </label>
        <label className="check">
          <input type="checkbox" checked={inTab} onChange={(event) => setInTab(event.target.checked)} />
          {words.inTab}
        </label>
        {!asking?.authRequired && (
          <label className="field">
            <span>{words.actor}</span>
            <input className="input" value={named} maxLength={1024} onChange={(event) => setNamed(event.target.value)} />
            <small>{words.actorHint}</small>
          </label>
        )}
        <div className="choices">
          <Choice label={words.theme.label} value={theme} options={{ system: words.theme.system, light: words.theme.light, dark: words.theme.dark }} />
          <Choice label={words.zone.label} value={zone} options={{ utc: words.zone.utc, local: words.zone.local }} />
          <label className="check">
            <Switch value={shortcuts} />
            {words.shortcuts}
          </label>
        </div>
        <footer>
          {held && (
            <button type="button" className="button" onClick={() => setToken("", false)}>
              {words.forget}
            </button>
          )}
          <button type="submit" className="button primary">
            {words.use}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function Choice<T extends string>({ label, value, options }: { label: string; value: Value<T>; options: Record<T, string> }) {
  const chosen = useValue(value);
  return (
    <label className="field">
      <span>{label}</span>
      <select className="select" value={chosen} onChange={(event) => value.set(event.target.value as T)}>
        {(Object.keys(options) as T[]).map((option) => (
          <option key={option} value={option}>
            {options[option]}
          </option>
        ))}
      </select>
    </label>
  );
}

function Switch({ value }: { value: Value<"on" | "off"> }) {
  const chosen = useValue(value);
  return <input type="checkbox" checked={chosen === "on"} onChange={(event) => value.set(event.target.checked ? "on" : "off")} />;
}
