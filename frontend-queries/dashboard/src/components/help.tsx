/** The keyboard shortcuts. */
import { text } from "../text.js";
import { Dialog } from "./dialog.js";

export function HelpDialog({ onClose }: { onClose(): void }) {
  return (
    <Dialog title={text.help.title} onClose={onClose}>
      <dl className="shortcuts">
        {text.help.rows.map(([keys, what]) => (
          <div key={keys} className="shortcut">
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <p className="quiet">{text.help.off}</p>
    </Dialog>
  );
}
