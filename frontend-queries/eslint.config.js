// Every operation and fragment against the schema, by the rules that @graphql-eslint recommends and a few more. What is
// built of them, documents/*.graphql, is compared by `make lint` and validated by tests.
import graphqlPlugin from "@graphql-eslint/eslint-plugin";

const sources = ["fragments/*.graphql", "operations/*.graphql"];

export default [
  { ignores: ["dashboard/**", "dist/**", "src/generated/**"] },
  {
    files: sources,
    languageOptions: {
      parser: graphqlPlugin.parser,
      parserOptions: {
        graphQLConfig: { schema: "schema.graphql", documents: sources },
      },
    },
    plugins: { "@graphql-eslint": graphqlPlugin },
    rules: {
      ...graphqlPlugin.configs["flat/operations-recommended"].rules,
      "@graphql-eslint/match-document-filename": [
        "error",
        { fragment: "PascalCase", query: "PascalCase", mutation: "PascalCase", subscription: "PascalCase" },
      ],
      "@graphql-eslint/no-one-place-fragments": "error",
      "@graphql-eslint/unique-operation-name": "error",
      "@graphql-eslint/unique-fragment-name": "error",
    },
  },
];
