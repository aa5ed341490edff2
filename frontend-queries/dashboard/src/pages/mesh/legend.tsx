/** What the marks of the map mean: the same shapes, drawn with CSS. */
import { text } from "../../text.js";

const words = text.mesh;

export function Legend() {
  return (
    <section className="legend" aria-labelledby="legend">
      <h2 id="legend">{words.legend}</h2>
      <ul>
        {(Object.keys(words.marks) as (keyof typeof words.marks)[]).map((mark) => (
          <li key={mark}>
            <span className={`swatch ${mark}`} aria-hidden="true" />
            {words.marks[mark]}
          </li>
        ))}
      </ul>
    </section>
  );
}
