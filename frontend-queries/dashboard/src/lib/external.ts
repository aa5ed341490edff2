/** Values outside React that components read. */
import { useSyncExternalStore } from "react";

/** A value that components follow. `set` with an equal value tells nobody. */
export class Value<T> {
  #value: T;
  readonly #listeners = new Set<() => void>();

  constructor(initial: T) {
    this.#value = initial;
  }

  readonly get = (): T => this.#value;

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const listener of this.#listeners) listener();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
}

interface Store<T> {
  subscribe(listener: () => void): () => void;
  snapshot(): T;
}

export const useValue = <T>(value: Value<T>): T => useSyncExternalStore(value.subscribe, value.get);

export const useStore = <T>(store: Store<T>): T => useSyncExternalStore(store.subscribe, store.snapshot);

/** A part of a value: the component is not rendered again while that is the same. */
export const useSelected = <T, Part>(value: Value<T>, select: (from: T) => Part): Part =>
  useSyncExternalStore(value.subscribe, () => select(value.get()));
