import { defineConfig } from "vitest/config";

// The dashboard beside it has tests of its own.
export default defineConfig({ test: { include: ["test/**/*.test.ts"], exclude: ["dashboard/**"] } });
