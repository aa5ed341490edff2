/** What refusals and changes are looked for by, in the address. Days are those of UTC. */
import { mesh } from "../../api/live.js";
import { useQueryState } from "../../lib/query.js";
import { text } from "../../text.js";

const words = text.governance;

export interface Filter {
  readonly namespace?: string;
  readonly actor?: string;
  readonly changeTicket?: string;
  readonly since?: string;
  readonly until?: string;
}

export function useFilter(): Filter {
  const [query] = useQueryState();
  const given: Record<string, string> = {};
  for (const [name, field] of [["ns", "namespace"], ["actor", "actor"], ["ticket", "changeTicket"]] as const) {
    const value = query.get(name)?.trim();
    if (value) given[field] = value;
  }
  const [since, until] = [Date.parse(query.get("since") ?? ""), Date.parse(query.get("until") ?? "")];
  if (!Number.isNaN(since)) given["since"] = new Date(since).toISOString();
  if (!Number.isNaN(until)) given["until"] = new Date(until + 86_400_000).toISOString();
  return given;
}

export function FilterFields({ children }: { children?: React.ReactNode }) {
  const [query, change] = useQueryState();
  const field = (name: string, label: string, type = "search") => (
    <label>
      <span className="name">{label}</span>
      <input className={`input ${type}`} type={type} value={query.get(name) ?? ""} onChange={(event) => change({ [name]: event.target.value })} />
    </label>
  );
  return (
    <div className="filters governance-filters">
      {children}
      <label>
        <span className="name">{text.filters.namespace}</span>
        <select className="select" value={query.get("ns") ?? ""} onChange={(event) => change({ ns: event.target.value })}>
          <option value="">{text.filters.all}</option>
          {[...mesh.namespaces.keys()].map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
      </label>
      {field("actor", text.filters.actor)}
      {field("ticket", text.filters.ticket)}
      {field("since", words.since, "date")}
      {field("until", words.untilDay, "date")}
    </div>
  );
}
