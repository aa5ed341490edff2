"""Build documents/ from operations/ and fragments/: the self-contained documents that the wheel and the server carry.

`make documents` runs it. With `--check`, as in `make lint`, it writes nothing and exits with 1 if a built file is out
of date. A document is the operation's file word for word, then the fragments that it spreads, directly or by another
fragment, in the order of their names. Their text is copied, not printed anew: the manifests name each document by its
SHA-256, which must not change with the version of a library. manifest.json has names and ids;
persisted-query-manifest.json the texts too, in the format that servers and registries of other makers read.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from graphql import (
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    Visitor,
    parse,
    visit,
)

FOLDER: Final = Path(__file__).parent
MANIFEST: Final = "manifest.json"
PERSISTED: Final = "persisted-query-manifest.json"
SUFFIX: Final = ".graphql"


class SourceError(Exception):
    """A file of operations/ or fragments/ that no document can be built of."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file: its text, the offset at which its only definition begins, the type of an operation (of a fragment empty),
    and the fragments which that spreads itself."""

    text: str
    begins: int
    type: str
    spreads: frozenset[str]

    def definition(self) -> str:
        return self.text[self.begins :]


def build(folder: Path) -> dict[str, str]:
    """The files of documents/, name -> text: one for each operation, and the manifests. Raises SourceError."""
    fragments = read(folder / "fragments", FragmentDefinitionNode)
    operations = read(folder / "operations", OperationDefinitionNode)
    documents = {}
    unused = set(fragments)
    for name, operation in operations.items():
        used = closure(operation, fragments)
        documents[name] = "\n".join((operation.text, *(fragments[fragment].definition() for fragment in used)))
        unused.difference_update(used)
    if unused:
        raise SourceError(f"fragments/{min(unused)}{SUFFIX} is spread by no operation")
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in documents.items()}
    persisted = {
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": [
            {"id": digests[name], "name": name, "type": operations[name].type, "body": text}
            for name, text in documents.items()
        ],
    }
    return {
        **{f"{name}{SUFFIX}": text for name, text in documents.items()},
        MANIFEST: json.dumps({name: f"sha256:{digest}" for name, digest in digests.items()}, indent=2) + "\n",
        PERSISTED: json.dumps(persisted, indent=2) + "\n",
    }


def read(folder: Path, kind: type[OperationDefinitionNode | FragmentDefinitionNode]) -> dict[str, Source]:
    """The files of a folder by their names, which are those of the definitions. Raises SourceError."""
    sources = {}
    for file in sorted(folder.iterdir()):
        where = f"{folder.name}/{file.name}"
        text = file.read_text(encoding="utf-8")
        try:
            definition, *others = parse(text).definitions
        except GraphQLSyntaxError as error:
            raise SourceError(f"{where}: {error.message}") from None
        if others or not isinstance(definition, kind) or definition.name is None or definition.loc is None:
            raise SourceError(f"{where} must hold one {kind.kind.replace('_', ' ')} that has a name, and nothing else")
        if file.name != definition.name.value + SUFFIX:
            raise SourceError(f"{where} must be named like what it holds, {definition.name.value}{SUFFIX}")
        spreads = _Spreads()
        visit(definition, spreads)
        kind_of_operation = definition.operation.value if isinstance(definition, OperationDefinitionNode) else ""
        sources[file.stem] = Source(text, definition.loc.start, kind_of_operation, frozenset(spreads.names))
    return sources


def closure(source: Source, fragments: Mapping[str, Source]) -> list[str]:
    """The names of all fragments that a source spreads, directly or not, sorted. Raises SourceError."""
    found: set[str] = set()
    left = set(source.spreads)
    while left:
        name = left.pop()
        if name not in fragments:
            raise SourceError(f"there is no fragments/{name}{SUFFIX}, which is spread")
        found.add(name)
        left |= fragments[name].spreads - found
    return sorted(found)


def out_of_date(folder: Path, built: Mapping[str, str]) -> list[str]:
    """The names of files that `folder` lacks, has in excess or with another text, sorted."""
    existing = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*")}
    return sorted(name for name in built.keys() | existing.keys() if built.get(name) != existing.get(name))


def write(folder: Path, built: Mapping[str, str]) -> None:
    """Leave in `folder` what was built and nothing else."""
    folder.mkdir(exist_ok=True)
    for name in out_of_date(folder, built):
        if name in built:
            (folder / name).write_text(built[name], encoding="utf-8")
        else:
            (folder / name).unlink()


def main() -> None:
    """Build, or check what is built. Exits with 1 and a line if a source is invalid or a built file is out of date."""
    parser = argparse.ArgumentParser(description="Build documents/ from operations/ and fragments/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    checking = parser.parse_args().check
    documents = FOLDER / "documents"
    try:
        built = build(FOLDER)
    except SourceError as error:
        sys.exit(f"{FOLDER.name}: {error}")
    if not checking:
        write(documents, built)
    elif names := out_of_date(documents, built):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        sys.exit(f"{FOLDER.name}/documents is out of date, run `make documents`: {names[0]}{more}")


class _Spreads(Visitor):
    """Collects the names of the fragments that a definition spreads itself."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        self.names.add(node.name.value)


if __name__ == "__main__":
    main()
