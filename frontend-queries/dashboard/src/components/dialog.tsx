/** A modal dialog: Escape and a click beside it close it, and focus goes back to where it was. */
import { useEffect, useId, useRef } from "react";
import type { ReactNode } from "react";

import { text } from "../text.js";

export function Dialog({ title, onClose, children }: { title: string; onClose(): void; children: ReactNode }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    if (!dialog.current?.open) dialog.current?.showModal();
    // Its first field, where there is one: React has focused that before the dialog was open, to no effect.
    dialog.current?.querySelector("input")?.focus();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={id}
      onClose={onClose}
      onClick={(event) => {
        if (event.target === dialog.current) onClose();
      }}
    >
      <div className="dialog">
        <header>
          <h2 id={id}>{title}</h2>
          <button type="button" className="button plain" onClick={onClose}>
            {text.close}
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
