/** Keyboard shortcuts: off in fields, and wherever they are switched off (WCAG 2.1.4). */
import { useEffect, useRef } from "react";

import { shortcuts } from "./settings.js";

/** `g m` is one after the other. Keys are those of KeyboardEvent.key; none with Ctrl, Alt or Meta. */
export type Shortcuts = Readonly<Record<string, (event: KeyboardEvent) => void>>;

const PAUSE_MS = 1_500;

const isField = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

export function useShortcuts(given: Shortcuts): void {
  const latest = useRef(given);
  latest.current = given;
  useEffect(() => {
    let first = "";
    let at = 0;
    const pressed = (event: KeyboardEvent): void => {
      if (shortcuts.get() === "off" || event.defaultPrevented || isField(event.target)) return;
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const both = event.timeStamp - at < PAUSE_MS && first ? `${first} ${event.key}` : event.key;
      const action = latest.current[both] ?? latest.current[event.key];
      first = event.key;
      at = event.timeStamp;
      if (action === undefined) return;
      first = "";
      event.preventDefault();
      action(event);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}
