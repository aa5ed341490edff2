/** Not built yet. */
import { text } from "../../text.js";

export default function TimePage() {
  return (
    <>
      <h1>{text.pages.time}</h1>
      <p className="blank">{text.empty.soon}</p>
    </>
  );
}
