/** A dialog that does something: why, under which ticket, by whom; and what became of it, as a sentence with its remedy. */
import { describeError, describeRefusal, fromUnknown } from "@omnirelay/mesh-queries";
import type { Description, RefusalLike } from "@omnirelay/mesh-queries";
import { useRef, useState } from "react";
import type { ReactNode } from "react";

import { viewer } from "../api/live.js";
import { useValue } from "../lib/external.js";
import { actor } from "../lib/settings.js";
import { text } from "../text.js";
import { Dialog } from "./dialog.js";
import "./review.css";

const words = text.deed;

/** As mutations take it. */
export interface DeedChange {
  reason: string;
  changeTicket?: string;
  actor?: string;
  idempotencyKey: string;
}

export interface DeedProps {
  readonly title: string;
  /** The button: what is done. */
  readonly deed: string;
  /** What was not done, where it was refused: "Not applied". */
  readonly verb: string;
  readonly isDangerous?: boolean;
  readonly reason?: string;
  readonly ticket?: string;
  readonly isReady?: boolean;
  readonly children?: ReactNode;
  /** Returns the refusal, or null where it was done. */
  send(change: DeedChange): Promise<RefusalLike | null>;
  onDone(): void;
  onClose(): void;
  /** Below a refusal: another way on. */
  after?(refusal: RefusalLike): ReactNode;
}

type Outcome = { readonly type: "refused"; readonly described: Description; readonly refusal: RefusalLike | null } | { readonly type: "lost" };

export function DeedDialog(props: DeedProps) {
  const asking = useValue(viewer);
  const namesActor = asking !== null && !asking.authRequired;
  const [reason, setReason] = useState(props.reason ?? "");
  const [ticket, setTicket] = useState(props.ticket ?? "");
  const [named, setNamed] = useState(actor.get());
  const [isSending, setSending] = useState(false);
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  /** The same for the same request, so that asking again does it once; another after anything was changed. */
  const key = useRef({ of: "", value: "" });

  const send = async (): Promise<void> => {
    const given = { reason: reason.trim(), ...(ticket.trim() ? { changeTicket: ticket.trim() } : {}), ...(namesActor ? { actor: named.trim() } : {}) };
    if (namesActor) actor.set(named.trim());
    const of = JSON.stringify([given, props.deed]);
    if (key.current.of !== of || outcome?.type === "refused") key.current = { of, value: randomKey() };
    setSending(true);
    try {
      const refusal = await props.send({ ...given, idempotencyKey: key.current.value });
      if (refusal === null) return props.onDone();
      setOutcome({ type: "refused", described: describeRefusal(refusal, props.verb), refusal });
    } catch (cause) {
      const error = fromUnknown(cause);
      const isLost = error.code === "CONNECTION_LOST" || error.code === "COMMIT_UNKNOWN";
      setOutcome(isLost ? { type: "lost" } : { type: "refused", described: describeError(error, props.verb), refusal: null });
    }
    setSending(false);
  };

  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (!isSending) void send();
        }}
      >
        {props.children}
        <label className="field">
          <span>{words.reason}</span>
          <input className="input" required value={reason} maxLength={1024} onChange={(event) => setReason(event.target.value)} />
          <small>{words.reasonHint}</small>
        </label>
        <div className="deed-two">
          <label className="field">
            <span>{words.ticketOptional}</span>
            <input className="input" value={ticket} maxLength={1024} onChange={(event) => setTicket(event.target.value)} />
          </label>
          {namesActor && (
            <label className="field">
              <span>{words.actor}</span>
              <input className="input" required value={named} maxLength={1024} onChange={(event) => setNamed(event.target.value)} />
            </label>
          )}
        </div>
        {outcome?.type === "refused" && <Refused described={outcome.described}>{outcome.refusal && props.after?.(outcome.refusal)}</Refused>}
        {outcome?.type === "lost" && (
          <div className="refused" role="alert">
            <p>{words.lost}</p>
          </div>
        )}
        <footer>
          <button type="button" className="button" onClick={props.onClose}>
            {text.cancel}
          </button>
          <button type="submit" className={`button ${props.isDangerous ? "danger" : "primary"}`} disabled={isSending || props.isReady === false}>
            {isSending ? words.sending : outcome?.type === "lost" ? words.ask : props.deed}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** A refusal or a failure: what happened and why, then what can be done. */
export function Refused({ described, children }: { described: Description; children?: ReactNode }) {
  return (
    <div className="refused" role="alert">
      <p>
        <strong>{described.sentence}</strong> {described.remedy}
      </p>
      {described.details.length > 1 && (
        <ul>
          {described.details.map((each) => (
            <li key={each}>{each}</li>
          ))}
        </ul>
      )}
      {children}
    </div>
  );
}

/** crypto.randomUUID needs https, which a server on a host of its own network may not have. */
const randomKey = (): string => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
