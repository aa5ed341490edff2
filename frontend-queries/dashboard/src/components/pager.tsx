/** To the pages of a list beside the one that is shown. */
import type { Pages } from "../lib/pages.js";
import { text } from "../text.js";

const words = text.pager;

export function Pager({ pages }: { pages: Pages<unknown> }) {
  const { number, hasOlder, older, newer, newest } = pages;
  if (number === 0 && !hasOlder) return null;
  return (
    <nav className="more pager" aria-label={words.label}>
      <button type="button" className="button" disabled={number === 0} onClick={newest}>
        {words.newest}
      </button>
      <button type="button" className="button" disabled={number === 0} onClick={newer}>
        {words.newer}
      </button>
      <span className="quiet" role="status">
        {words.page(number + 1)}
      </span>
      <button type="button" className="button" disabled={!hasOlder} onClick={older}>
        {words.older}
      </button>
    </nav>
  );
}
