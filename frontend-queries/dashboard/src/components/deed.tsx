/** A dialog that does something: why, under which ticket, by whom; and what became of it, as a sentence with its remedy. */
import { describeError, describeRefusal, fromUnknown } from "@omnirelay/mesh-queries";
import type { Description, RefusalLike } from "@omnirelay/mesh-queries";
import { useRef, useState } from "react";
import type { ReactNode } from "react";

import { viewer } from "../api/live.js";
import { useValue } from "../lib/external.js";
import { useMay } from "../lib/scopes.js";
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
  force?: { reason: string };
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
  /** What is to be typed before it is done: the name of what is gone then. */
  readonly confirms?: string;
  /** The name to be typed where it is forced; none where it cannot be. */
  readonly forces?: string;
  /** Whether it is known that it must be forced. */
  readonly isForced?: boolean;
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
  const may = useMay();
  const namesActor = asking !== null && !asking.authRequired;
  const [reason, setReason] = useState(props.reason ?? "");
  const [ticket, setTicket] = useState(props.ticket ?? "");
  const [named, setNamed] = useState(actor.get());
  const [isSending, setSending] = useState(false);
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const [isForcing, setForcing] = useState(props.isForced === true);
  const [forceReason, setForceReason] = useState("");
  const [typed, setTyped] = useState("");
  const wanted = isForcing ? (props.forces ?? props.confirms) : props.confirms;
  const isConfirmed = wanted === undefined || typed.trim() === wanted;
  /** The same for the same request, so that asking again does it once; another after anything was changed. */
  const key = useRef({ of: "", value: "" });

  const send = async (): Promise<void> => {
    const given = { reason: reason.trim(), ...(ticket.trim() ? { changeTicket: ticket.trim() } : {}), ...(namesActor ? { actor: named.trim() } : {}), ...(isForcing ? { force: { reason: forceReason.trim() } } : {}) };
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
          if (!isSending && isConfirmed) void send();
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
        {isForcing && (
          <label className="field">
            <span>{words.forceReason}</span>
            <input className="input" required value={forceReason} maxLength={1024} onChange={(event) => setForceReason(event.target.value)} />
            <small>{words.forceHint}</small>
          </label>
        )}
        {wanted !== undefined && (
          <label className="field">
            <span className="wrap-anywhere">{words.confirm(wanted)}</span>
            <input className="input" required autoComplete="off" spellCheck={false} value={typed} onChange={(event) => setTyped(event.target.value)} />
          </label>
        )}
        {outcome?.type === "refused" && (
          <Refused described={outcome.described}>
            {outcome.refusal && props.after?.(outcome.refusal)}
            {outcome.described.canForce && props.forces !== undefined && !isForcing && (
              <>
                {may("mesh.admin") ? (
                  <button type="button" className="button danger" onClick={() => setForcing(true)}>
                    {words.force}
                  </button>
                ) : (
                  <p className="quiet">{words.mayNotForce}</p>
                )}
              </>
            )}
          </Refused>
        )}
        {outcome?.type === "lost" && (
          <div className="refused" role="alert">
            <p>{words.lost}</p>
          </div>
        )}
        <footer>
          <button type="button" className="button" onClick={props.onClose}>
            {text.cancel}
          </button>
          <button type="submit" className={`button ${props.isDangerous || isForcing ? "danger" : "primary"}`} disabled={isSending || props.isReady === false || !isConfirmed}>
            {isSending ? words.sending : outcome?.type === "lost" ? words.ask : isForcing ? words.forced(props.deed) : props.deed}
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
