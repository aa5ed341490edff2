/** The browser's storage without any header: GraphiQL's history would keep those of each request, tokens among them. */
export const storage: Storage = {
  get length() {
    return localStorage.length;
  },
  key: (index) => localStorage.key(index),
  clear: () => localStorage.clear(),
  getItem: (key) => localStorage.getItem(key),
  removeItem: (key) => localStorage.removeItem(key),
  setItem: (key, value) => localStorage.setItem(key, withoutHeaders(value)),
};

function withoutHeaders(value: string): string {
  if (!value.startsWith("{") && !value.startsWith("[")) return value;
  try {
    return JSON.stringify(JSON.parse(value, (name, held: unknown) => (name === "headers" ? undefined : held)));
  } catch {
    return value; // a document, which begins like JSON
  }
}
