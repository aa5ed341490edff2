"""The GraphQL operations this program sends, by name: the files of `frontend-queries/documents`, word for word.

A wheel carries them in the package; a checkout has them beside it.
"""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

# Not `operations`: a folder of that name would stand where this module does.
PACKAGED: Final = "operation_documents"

_SUFFIX: Final = ".graphql"


@cache
def operation(name: str) -> str:
    """The document whose only operation is `name`. Raises LookupError if there is none."""
    try:
        return folder().joinpath(name + _SUFFIX).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LookupError(f"there is no operation {name} in {folder()}") from None


def operation_names() -> frozenset[str]:
    """The names of all operations there are."""
    return frozenset(entry.name.removesuffix(_SUFFIX) for entry in folder().iterdir() if entry.name.endswith(_SUFFIX))


def folder() -> Traversable:
    """Where the operations lie."""
    package = files("graph")
    packaged = package / PACKAGED
    if packaged.is_dir():
        return packaged
    return Path(str(package)).parent / "frontend-queries" / "documents"
