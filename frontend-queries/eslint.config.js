// Every operation against the schema, by the rules that @graphql-eslint recommends and a few more.
import graphqlPlugin from "@graphql-eslint/eslint-plugin";

export default [
  {
    files: ["operations/*.graphql"],
    languageOptions: {
      parser: graphqlPlugin.parser,
      parserOptions: {
        graphQLConfig: { schema: "schema.graphql", documents: "operations/*.graphql" },
      },
    },
    plugins: { "@graphql-eslint": graphqlPlugin },
    rules: {
      ...graphqlPlugin.configs["flat/operations-recommended"].rules,
      "@graphql-eslint/match-document-filename": [
        "error",
        { query: "PascalCase", mutation: "PascalCase", subscription: "PascalCase" },
      ],
      "@graphql-eslint/no-one-place-fragments": "error",
      "@graphql-eslint/unique-operation-name": "error",
      "@graphql-eslint/unique-fragment-name": "error",
    },
  },
];
