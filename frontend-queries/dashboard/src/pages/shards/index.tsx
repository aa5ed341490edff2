/** Not built yet. */
import { text } from "../../text.js";

export default function ShardsPage() {
  return (
    <>
      <h1>{text.pages.shards}</h1>
      <p className="blank">{text.empty.soon}</p>
    </>
  );
}
