/** The scalars of the API that are more than their text: strings that only the API makes. */

declare const revision: unique symbol;
declare const cursor: unique symbol;

/** A 64-bit counter: a string of decimal digits, since a JavaScript number is exact to 2^53 only. */
export type Revision = string & { readonly [revision]: true };

/** A position in the change stream. Opaque: hand it back as it came. */
export type Cursor = string & { readonly [cursor]: true };

/** A revision that came from elsewhere, such as an address or a form. Throws a TypeError for what is none. */
export function toRevision(text: string | number | bigint): Revision {
  const digits = String(text);
  if (!/^\d{1,19}$/.test(digits)) throw new TypeError(`${digits} is not a revision: a revision is 1 to 19 digits`);
  return digits.replace(/^0+(?=\d)/, "") as Revision;
}

/** Negative where `left` is the earlier one, 0 where they are equal, positive where it is the later one. */
export function compareRevisions(left: Revision, right: Revision): number {
  return left.length - right.length || (left < right ? -1 : left > right ? 1 : 0);
}
