/** Not built yet. */
import { text } from "../../text.js";

export default function GovernancePage() {
  return (
    <>
      <h1>{text.pages.governance}</h1>
      <p className="blank">{text.empty.soon}</p>
    </>
  );
}
