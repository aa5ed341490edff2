// Types and typed documents of every operation, for a front end in TypeScript: generated/operations.ts.
import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  schema: "schema.graphql",
  documents: ["fragments/*.graphql", "operations/*.graphql"],
  generates: {
    "generated/operations.ts": {
      plugins: ["typescript-operations", "typed-document-node"],
      config: {
        useTypeImports: true,
        strictScalars: true, // a scalar that is added to the schema must be added here
        scalars: {
          Cursor: "string",
          DateTime: "string",
          JSON: "unknown",
          Revision: "string", // 64 bits: digits, never a JavaScript number
        },
      },
    },
  },
};

export default config;
