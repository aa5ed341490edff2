/** In the place of a page whose module could not be read: a browser does not try one again before it is loaded anew. */
import { text } from "../text.js";

export function Unread() {
  return (
    <div className="blank" role="alert">
      <h1 className="sr">{text.failed}</h1>
      <p>{text.connection.unread}</p>
      <button type="button" className="button" onClick={() => location.reload()}>
        {text.connection.reload}
      </button>
    </div>
  );
}
