// What is generated of every operation, into src/generated/: types and documents as text by the client preset
// (strings/), the same documents parsed (documents.ts), and the schema for caches that want it (introspection.json).
// generate.js adds the rest.
import { readFileSync } from "node:fs";

import type { CodegenConfig } from "@graphql-codegen/cli";

const manifest = JSON.parse(readFileSync("documents/manifest.json", "utf8")) as Record<string, string>;

// The id under which the server knows a document is of the text in documents/, not of what codegen prints.
const idInManifest = (document: string): string => {
  const name = /\b(?:query|mutation|subscription) (\w+)/.exec(document)?.[1] ?? "";
  const id = manifest[name];
  if (id === undefined) throw new Error(`documents/manifest.json has no ${name || document}: run make documents`);
  return id.replace("sha256:", ""); // the hex alone: `documentId` and Apollo's `sha256Hash` both take that
};

const types = {
  useTypeImports: true,
  strictScalars: true, // a scalar that is added to the schema must be added here
  enumsAsTypes: true,
  avoidOptionals: { field: true, inputValue: false, object: false, defaultValue: false },
  scalars: {
    Cursor: { input: "../../scalars.js#Cursor", output: "../../scalars.js#Cursor" },
    DateTime: "string",
    ID: "string",
    JSON: "unknown",
    Revision: { input: "../../scalars.js#Revision", output: "../../scalars.js#Revision" },
  },
};

const config: CodegenConfig = {
  schema: "schema.graphql",
  documents: ["fragments/*.graphql", "operations/*.graphql"],
  emitLegacyCommonJSImports: false,
  generates: {
    "src/generated/strings/": {
      preset: "client",
      presetConfig: {
        fragmentMasking: false,
        persistedDocuments: { mode: "embedHashInDocument", hashAlgorithm: idInManifest },
      },
      config: { ...types, documentMode: "string" },
    },
    "src/generated/nodes/": {
      preset: "client",
      presetConfig: {
        fragmentMasking: false,
        persistedDocuments: { mode: "embedHashInDocument", hashAlgorithm: idInManifest },
      },
      config: types,
    },
    "src/generated/introspection.json": {
      plugins: ["introspection"],
      config: { minify: true, descriptions: false },
    },
  },
};

export default config;
