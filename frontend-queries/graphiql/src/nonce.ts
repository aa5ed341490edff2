/** Style elements of the page's scripts carry its nonce, for the policy allows no other: Monaco and the dialogs write
 * theirs without one. To be imported before them. */
const nonce = document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]')?.nonce ?? "";
const original = Document.prototype.createElement;

Document.prototype.createElement = function (this: Document, name: string, options?: ElementCreationOptions): HTMLElement {
  const element = original.call(this, name, options);
  if (element instanceof HTMLStyleElement) element.nonce = nonce;
  return element;
};
