/** Documents as all clients of this package take them. */
import type { DocumentTypeDecoration } from "@graphql-typed-document-node/core";

/**
 * A document by the id that the server knows it by, without its text.
 *
 * urql sends `documentId` of such a document by itself; the transports of this package do too.
 */
export interface TrustedDocument<Result, Variables> extends DocumentTypeDecoration<Result, Variables> {
  readonly kind: "Document";
  readonly definitions: [];
  readonly documentId: string;
  readonly operation: "query" | "mutation" | "subscription";
  readonly operationName: string;
}

/** A trusted document, the text of any other, or an object whose text `String()` gives. */
export type MeshDocument<Result, Variables> =
  | TrustedDocument<Result, Variables>
  | (DocumentTypeDecoration<Result, Variables> & { toString(): string })
  | string;

/** The members of a request that name the document: its id where it is a trusted one, its text otherwise. */
export function named(document: MeshDocument<never, never> | MeshDocument<any, any>): { documentId: string } | { query: string } {
  if (typeof document === "object" && "documentId" in document) return { documentId: document.documentId };
  return { query: String(document) };
}
