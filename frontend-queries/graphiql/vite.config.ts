import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vite";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

interface Package {
  name: string;
  version: string;
  license: string;
}

const packages = new Map<string, Package>();

/** Notes the packages whose modules are in a bundle, the workers' among them. */
const noted = (): Plugin => ({
  name: "noted",
  generateBundle(_, bundle) {
    for (const output of Object.values(bundle)) {
      if (output.type !== "chunk") continue;
      for (const id of output.moduleIds) {
        const folder = /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1];
        if (folder === undefined || packages.has(folder)) continue;
        packages.set(folder, JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Package);
      }
    }
  },
});

/** Licences of packages that have none in them: those of the repository or the project that they are of. */
const ELSEWHERE: Record<string, string> = {
  "@graphiql/plugin-doc-explorer": "graphiql",
  "@graphiql/plugin-explorer": "graphiql",
  "@graphiql/plugin-history": "graphiql",
  "@graphiql/react": "graphiql",
  "monaco-graphql": "graphiql",
  "graphql-language-service": "graphiql",
  "react-compiler-runtime": "react",
  "react-remove-scroll-bar": "react-remove-scroll",
};

/** Writes SOURCES.json, for the bill of materials, and LICENSES.md: whole, with what the packages say of others' code. */
const licences = (): Plugin => ({
  name: "licences",
  generateBundle() {
    const found = [...packages].sort(([, one], [, other]) => (one.name < other.name ? -1 : one.name > other.name ? 1 : one.version < other.version ? -1 : 1));
    const sources = new Map(found.map(([, { name, version, license }]) => [`${name}@${version}`, { package: name, version, license }]));
    const texts = new Map<string, string>();
    for (const [folder, { name, version, license }] of found) {
      const held = [folder, path(`../node_modules/${ELSEWHERE[name] ?? "-"}`)]
        .map((each) => (existsSync(each) ? readdirSync(each).filter((file) => /^(?:licen[cs]e|copying|thirdparty|notice)/i.test(file)).sort().map((file) => join(each, file)) : []))
        .find((files) => files.length > 0);
      if (held === undefined) this.warn(`no licence is found for ${name}`);
      const text = (held ?? []).map((file) => readFileSync(file, "utf8").replaceAll("\r\n", "\n").trim()).join("\n\n");
      texts.set(`${name}@${version}`, `## ${name} ${version}, ${license}\n\n${text}\n`);
    }
    const own = "# Licences of what is built in\n";
    this.emitFile({ type: "asset", fileName: "LICENSES.md", source: [own, ...texts.values()].join("\n") });
    this.emitFile({ type: "asset", fileName: "SOURCES.json", source: `${JSON.stringify([...sources.values()], null, 2)}\n` });
  },
});

// What is built is committed and shipped in the wheel, so that a server shows it where there is no Node: `make graphiql`.
// Addresses are relative, for a server may be behind a prefix.
export default defineConfig({
  base: "./",
  plugins: [react(), noted(), licences()],
  // Its own part of the style sheet: style.css holds Monaco's a second time, and half a megabyte of fonts.
  resolve: { alias: [{ find: "graphiql-own.css", replacement: path("../node_modules/graphiql/dist/graphiql.css") }] },
  worker: { format: "es", plugins: () => [noted()] },
  build: {
    outDir: path("../../graph/http/graphiql_assets"),
    emptyOutDir: true,
    assetsInlineLimit: 0, // nothing inline: the page's policy allows its own files alone
    modulePreload: { polyfill: false },
    target: ["chrome111", "firefox114", "safari16.4"],
    reportCompressedSize: false,
    chunkSizeWarningLimit: 4_000,
    rolldownOptions: {
      // A directive for a compiler that is not in use here.
      onLog: (level, log, handle) => {
        if (log.code !== "MODULE_LEVEL_DIRECTIVE") handle(level, log);
      },
    },
  },
});
