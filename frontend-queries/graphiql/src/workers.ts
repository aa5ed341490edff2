/** The workers of the editor, from files of this server. To be imported before the editor. */
import EditorWorker from "monaco-editor/esm/vs/editor/editor.worker.js?worker";
import JsonWorker from "monaco-editor/esm/vs/language/json/json.worker.js?worker";
import GraphQLWorker from "monaco-graphql/esm/graphql.worker.js?worker";

const WORKERS: Record<string, new () => Worker> = { json: JsonWorker, graphql: GraphQLWorker };

const getWorker = (_: string, label: string): Worker => new (WORKERS[label] ?? EditorWorker)();

Object.assign(globalThis, { MonacoEnvironment: { getWorker } });
