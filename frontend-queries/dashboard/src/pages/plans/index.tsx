/** Not built yet. */
import { text } from "../../text.js";

export default function PlansPage() {
  return (
    <>
      <h1>{text.pages.plans}</h1>
      <p className="blank">{text.empty.soon}</p>
    </>
  );
}
