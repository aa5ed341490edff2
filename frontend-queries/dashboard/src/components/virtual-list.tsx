/** A long list of rows of one height, of which only those in view are in the document. */
import { useLayoutEffect, useRef, useState } from "react";
import type { ReactNode, Ref } from "react";

const OVERSCAN = 8;

export interface VirtualListProps {
  count: number;
  rowHeight: number;
  /** Absolute position is the list's matter: a row is as high as `rowHeight`. */
  row(index: number): ReactNode;
  keyOf(index: number): string;
  className?: string;
  /** Called with how far down the list is scrolled, in pixels. */
  onScroll?(top: number): void;
  ref?: Ref<HTMLDivElement>;
  role?: string;
  label: string;
}

export function VirtualList({ count, rowHeight, row, keyOf, className, onScroll, ref, role, label }: VirtualListProps) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    if (typeof ref === "function") ref(element);
    else if (ref) ref.current = element;
    const observer = new ResizeObserver(() => setView({ top: element.scrollTop, height: element.clientHeight }));
    observer.observe(element);
    return () => observer.disconnect();
  }, [ref]);
  const first = Math.max(0, Math.floor(view.top / rowHeight) - OVERSCAN);
  const last = Math.min(count, Math.ceil((view.top + view.height) / rowHeight) + OVERSCAN);
  const rows: ReactNode[] = [];
  for (let index = first; index < last; index += 1) {
    rows.push(
      <div key={keyOf(index)} className="virtual-row" style={{ transform: `translateY(${index * rowHeight}px)`, height: rowHeight }}>
        {row(index)}
      </div>,
    );
  }
  return (
    <div
      ref={box}
      className={`virtual ${className ?? ""}`}
      role={role}
      aria-live={role === "log" ? "off" : undefined}
      aria-label={label}
      tabIndex={0}
      onScroll={(event) => {
        const { scrollTop, clientHeight } = event.currentTarget;
        setView({ top: scrollTop, height: clientHeight });
        onScroll?.(scrollTop);
      }}
    >
      <div className="virtual-all" style={{ height: count * rowHeight }}>
        {rows}
      </div>
    </div>
  );
}
