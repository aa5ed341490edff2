/** Headers that are typed in one tab are those of all: a token is pasted once. They are kept in memory alone. */
import { useGraphiQL } from "@graphiql/react";
import { useEffect } from "react";

let shared = "";

const isSame = (one: string, other: string): boolean => one.replace(/\s/g, "") === other.replace(/\s/g, "");

export function SharedHeaders(): null {
  const editor = useGraphiQL((state) => state.headerEditor);
  useEffect(() => {
    shared = editor?.getValue() || shared; // typed before this listened
    const listening = editor?.onDidChangeModelContent(({ isFlush }) => {
      const text = editor.getValue();
      // A flush is another tab's headers, or those of an entry of history; or the same ones, prettified.
      if (!isFlush || isSame(text, shared)) shared = text;
      else queueMicrotask(() => editor.setValue(shared));
    });
    return () => listening?.dispose();
  }, [editor]);
  return null;
}
