// Beside each built file its .gz and .br, so that a server has nothing to compress; what would not be smaller has none.
// With `--check FOLDER` nothing is written: what is committed must hold what was built into FOLDER, compressed or not. The
// compressed bytes themselves are not compared, for they differ from one version of zlib to another.
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { brotliCompressSync, brotliDecompressSync, constants, gunzipSync, gzipSync } from "node:zlib";

const COMMITTED = new URL("../../graph/http/dashboard_assets", import.meta.url).pathname;
const SMALLEST = 256;

const filesIn = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();

const isCompressed = (name) => /\.(?:br|gz)$/.test(name);

function compress() {
  for (const name of filesIn(COMMITTED)) {
    const file = join(COMMITTED, name);
    if (isCompressed(name)) {
      rmSync(file);
      continue;
    }
    const content = readFileSync(file);
    if (content.length < SMALLEST) continue;
    const gzipped = gzipSync(content, { level: 9 });
    const brotli = brotliCompressSync(content, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length },
    });
    writeFileSync(`${file}.gz`, gzipped);
    writeFileSync(`${file}.br`, brotli);
    const sizes = [content, gzipped, brotli].map(({ length }) => String(length).padStart(8));
    console.log(`${name.padEnd(44)}${sizes[0]}${sizes[1]} gz${sizes[2]} br`);
  }
}

/** The names of files that are not what was built. */
function outOfDate(built) {
  const expected = new Set(filesIn(built));
  const wrong = [...expected].filter(
    (name) => !existsSync(join(COMMITTED, name)) || !readFileSync(join(COMMITTED, name)).equals(readFileSync(join(built, name))),
  );
  for (const name of filesIn(COMMITTED)) {
    const plain = name.replace(/\.(?:br|gz)$/, "");
    if (!expected.has(plain)) wrong.push(name);
    else if (isCompressed(name)) {
      const content = readFileSync(join(COMMITTED, name));
      const held = name.endsWith(".br") ? brotliDecompressSync(content) : gunzipSync(content);
      if (!held.equals(readFileSync(join(built, plain)))) wrong.push(name);
    }
  }
  return [...new Set(wrong)];
}

if (process.argv[2] === "--check") {
  const wrong = outOfDate(process.argv[3]);
  if (wrong.length > 0) {
    console.error(`graph/http/dashboard_assets is out of date, run \`make dashboard\`: ${wrong.slice(0, 5).join(", ")}`);
    process.exit(1);
  }
} else compress();
