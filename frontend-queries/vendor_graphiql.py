"""Fetch the built files of GraphiQL and write them, unmodified, to graph/http/graphiql_assets/vendor.

`make vendor-graphiql` runs it; it needs npm. Operators' networks are closed, so the server brings these files along
instead of pointing at a CDN. Their versions are decided here and nowhere else; SOURCES.json records what came of it,
for the tests and for reviewers. GraphiQL 3 is the last major whose package has a file for browsers in it (4 and later
expect a bundler). That file contains graphql-ws, so subscriptions need nothing else. The explorer is the release made
for its @graphiql/react 0.28.
"""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).parent.parent / "graph" / "http" / "graphiql_assets" / "vendor"

PACKAGES = {
    "graphiql@3.8.3": ["graphiql.min.js", "graphiql.min.css", "LICENSE"],
    "react@18.2.0": ["umd/react.production.min.js", "LICENSE"],
    "react-dom@18.2.0": ["umd/react-dom.production.min.js", "LICENSE"],
    "@graphiql/plugin-explorer@3.2.5": ["dist/index.umd.js", "dist/style.css"],
    "graphiql-explorer@0.9.0": ["LICENSE"],  # its code is inside the plugin's file
}

# Packages without a licence of their own in them, and the file that has it: that of the repository that both are of.
LICENCES = {"@graphiql/plugin-explorer@3.2.5": "graphiql-3.8.3/LICENSE"}


def main() -> None:
    """Replace the folder. Nothing is changed if a package cannot be had."""
    sources = []
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch, "vendor")
        for package, wanted in PACKAGES.items():
            print(f"fetching {package}")  # noqa: T201 - progress for the person who runs it
            name, _, version = package.rpartition("@")
            folder = f"{name.removeprefix('@').replace('/', '-')}-{version}"
            contents = unpack(package, Path(scratch, folder))
            files = {}
            for file in wanted:
                content = (contents / file).read_bytes()
                target = fresh / folder / Path(file).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                files[f"{folder}/{target.name}"] = hashlib.sha256(content).hexdigest()
            if package in LICENCES:
                content = (fresh / LICENCES[package]).read_bytes()
                (fresh / folder / "LICENSE").write_bytes(content)
                files[f"{folder}/LICENSE"] = hashlib.sha256(content).hexdigest()
            licence = json.loads((contents / "package.json").read_text())["license"]
            sources.append({"package": name, "version": version, "license": licence, "sha256": files})
        (fresh / "SOURCES.json").write_text(json.dumps(sources, indent=2) + "\n")
        shutil.rmtree(VENDOR, ignore_errors=True)
        shutil.copytree(fresh, VENDOR)


def unpack(package: str, into: Path) -> Path:
    """The package's folder, as npm would install it, without running any code of it."""
    into.mkdir()
    npm = ["npm", "pack", "--silent", "--ignore-scripts", f"--pack-destination={into}", package]
    archive = subprocess.run(npm, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]  # noqa: S603 - arguments are ours
    with tarfile.open(into / archive) as packed:
        packed.extractall(into, filter="data")
    return into / "package"


if __name__ == "__main__":
    main()
