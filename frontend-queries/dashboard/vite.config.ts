import { fileURLToPath } from "node:url";

import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

// What is built is committed and shipped in the wheel, so that a server shows it where there is no Node: `make dashboard`.
// Addresses are relative, for a server may be behind a prefix.
export default defineConfig({
  base: "./",
  plugins: [react()],
  resolve: {
    alias: [
      { find: "@omnirelay/mesh-queries/trusted", replacement: path("../src/generated/trusted.ts") },
      { find: "@omnirelay/mesh-queries", replacement: path("../src/index.ts") },
    ],
  },
  build: {
    outDir: path("../../graph/http/dashboard_assets"),
    emptyOutDir: true,
    assetsDir: "dashboard",
    assetsInlineLimit: 0, // nothing inline: the page's policy allows its own files alone
    modulePreload: { polyfill: false },
    target: ["chrome111", "firefox114", "safari16.4"],
    reportCompressedSize: false,
    license: { fileName: "dashboard/LICENSES.md" },
  },
  server: { proxy: { "/graphql": { target: process.env["OMNIRELAY_URL"] ?? "http://127.0.0.1:8080", ws: true } } },
});
