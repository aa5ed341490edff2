// Of each built file of some size only its .gz and .br are kept: megabytes of Monaco are committed once, and a server has
// nothing to compress. With `--check FOLDER` nothing is written: what is committed must hold what was built into FOLDER.
// The compressed bytes themselves are not compared, for they differ from one version of zlib to another.
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { brotliCompressSync, brotliDecompressSync, constants, gunzipSync, gzipSync } from "node:zlib";

const COMMITTED = new URL("../../graph/http/graphiql_assets", import.meta.url).pathname;
const SMALLEST = 1_024;

const filesIn = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();

const isCompressed = (name, content) => name.startsWith("assets/") && content.length >= SMALLEST;

function compress() {
  let total = 0;
  for (const name of filesIn(COMMITTED)) {
    const file = join(COMMITTED, name);
    const content = readFileSync(file);
    if (!isCompressed(name, content)) continue;
    const gzipped = gzipSync(content, { level: 9 });
    const brotli = brotliCompressSync(content, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length },
    });
    writeFileSync(`${file}.gz`, gzipped);
    writeFileSync(`${file}.br`, brotli);
    rmSync(file);
    total += gzipped.length + brotli.length;
    const sizes = [content, gzipped, brotli].map(({ length }) => String(length).padStart(9));
    console.log(`${name.padEnd(44)}${sizes[0]}${sizes[1]} gz${sizes[2]} br`);
  }
  console.log(`${total} bytes in all`);
}

/** The names of files that are not what was built. */
function outOfDate(built) {
  const wrong = [];
  const expected = new Set();
  for (const name of filesIn(built)) {
    const content = readFileSync(join(built, name));
    const forms = isCompressed(name, content) ? { ".gz": gunzipSync, ".br": brotliDecompressSync } : { "": (held) => held };
    for (const [suffix, read] of Object.entries(forms)) {
      const file = join(COMMITTED, name + suffix);
      expected.add(name + suffix);
      if (!existsSync(file) || !read(readFileSync(file)).equals(content)) wrong.push(name + suffix);
    }
  }
  return [...wrong, ...filesIn(COMMITTED).filter((name) => !expected.has(name))];
}

if (process.argv[2] === "--check") {
  const wrong = outOfDate(process.argv[3]);
  if (wrong.length > 0) {
    console.error(`graph/http/graphiql_assets is out of date, run \`make graphiql\`: ${wrong.slice(0, 5).join(", ")}`);
    process.exit(1);
  }
} else compress();
