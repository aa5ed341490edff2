"""The operations of frontend-queries: each is valid, each is used, and the program finds them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLSchema,
    OperationDefinitionNode,
    build_schema,
    parse,
    validate,
)

import build_documents
from graph import operations
from graph.operations import operation, operation_names

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = ROOT / "frontend-queries" / "documents"
MANIFESTS: Final = (build_documents.MANIFEST, build_documents.PERSISTED)
FILES: Final = sorted(file for file in DOCUMENTS.iterdir() if file.name not in MANIFESTS)
FRAGMENTS: Final = sorted((ROOT / "frontend-queries" / "fragments").iterdir())
README: Final = (ROOT / "frontend-queries" / "README.md").read_text(encoding="utf-8")
DASHBOARDS: Final = "dashboards"
CLIENT: Final = "MeshClient"

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema((ROOT / "frontend-queries" / "schema.graphql").read_text(encoding="utf-8"))


@each_file
def test_an_operation_is_valid_against_the_exported_schema(file: Path, schema: GraphQLSchema) -> None:
    # All rules of the specification, among them: no unused fragment, no unused variable.
    assert validate(schema, document(file)) == []


@each_file
def test_a_file_holds_one_operation_of_its_own_name_and_fragments(file: Path) -> None:
    assert file.suffix == ".graphql"
    definitions = document(file).definitions
    names = [node.name.value for node in definitions if isinstance(node, OperationDefinitionNode) and node.name]
    assert names == [file.stem]
    assert all(isinstance(node, OperationDefinitionNode | FragmentDefinitionNode) for node in definitions)


@each_file
def test_an_operation_begins_with_what_it_is_for(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("file", FRAGMENTS, ids=lambda file: file.stem)
def test_a_fragment_begins_with_what_it_is(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# ")


def test_no_two_fragments_share_a_name() -> None:
    names = [
        node.name.value
        for file in FRAGMENTS
        for node in document(file).definitions
        if isinstance(node, FragmentDefinitionNode)
    ]
    assert len(names) == len(set(names))


def test_the_program_finds_every_operation_by_its_name() -> None:
    assert operation_names() == {file.stem for file in FILES}
    for file in FILES:
        assert operation(file.stem) == file.read_text(encoding="utf-8")


def test_an_unknown_operation_is_a_lookup_error() -> None:
    with pytest.raises(LookupError, match="no operation Nonsense"):
        operation("Nonsense")


def test_a_wheel_brings_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "graph"
    (package / operations.PACKAGED).mkdir(parents=True)
    (package / operations.PACKAGED / "Packaged.graphql").write_text("query Packaged { head { revision } }")
    monkeypatch.setattr(operations, "files", lambda _package: package)
    assert operation_names() == {"Packaged"}


def test_the_build_puts_the_operations_where_a_wheel_has_them() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"frontend-queries/documents" = "graph/{operations.PACKAGED}"' in project


def test_the_command_line_sends_exactly_what_the_readme_says_it_sends() -> None:
    documented = {name for name, users in used_by().items() if "mesh" in users}
    assert documented == sent_by("cli")


def test_the_python_client_sends_exactly_what_the_readme_says_it_sends() -> None:
    documented = {name for name, users in used_by().items() if CLIENT in users}
    assert documented == sent_by("client")


def test_the_readme_lists_every_operation_and_each_is_used() -> None:
    users = used_by()
    assert users.keys() == {file.stem for file in FILES}
    assert all(any(user in somebody for user in ("mesh", DASHBOARDS, CLIENT)) for somebody in users.values())


def document(file: Path) -> DocumentNode:
    return parse(file.read_text(encoding="utf-8"))


def used_by() -> dict[str, str]:
    """Operation -> the last column of its row in the table."""
    return {row[1]: row[2] for row in re.finditer(r"^\| `([A-Z]\w+)` \|[^|]*\| (.*) \|$", README, re.MULTILINE)}


def sent_by(package: str) -> set[str]:
    """Every name of an operation that stands as a string in this part of `graph`."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "graph" / package).rglob("*.py"))
    return {file.stem for file in FILES if f'"{file.stem}"' in code}
