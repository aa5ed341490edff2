"""docs/graphql-api.md lists what there is: every error code, every bound."""

from __future__ import annotations

import re
from pathlib import Path

from graph.close_codes import CloseCode
from graph.execution import limits
from graph.execution.errors import Code
from graph.http import trusted_documents, websocket
from persistence import errors
from persistence.model import fields, paging
from persistence.planning import planner, what_if

PAGE = (Path(__file__).parents[2] / "docs" / "graphql-api.md").read_text()
FROM_THE_STORE = (
    errors.InvalidArgument,
    errors.BadCursor,
    errors.FutureCursor,
    errors.FutureRevision,
    errors.Compacted,
    errors.EpochMismatch,
    errors.StaleRead,
    errors.PlanCorrupt,
    errors.TransientConflict,
    errors.StoreUnavailable,
    errors.Overloaded,
    errors.Locked,
    errors.CommitUnknown,
    errors.Fenced,
    errors.SchemaOutOfDate,
)


def test_every_error_code_is_listed_and_no_other() -> None:
    listed = re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted([*Code, *(error.code for error in FROM_THE_STORE)])


def test_every_code_that_closes_a_socket_is_listed_with_whether_to_come_back() -> None:
    listed = {
        int(code): answer for code, answer in re.findall(r"^\| (\d{4}) \|.*\| (yes|no)\b[^|]*\|$", PAGE, re.MULTILINE)
    }
    assert listed == {code.value: "yes" if code.comes_back else "no" for code in CloseCode}


def test_the_bounds_are_those_of_the_code() -> None:
    for bound in (
        f"{limits.MAX_TOKENS:,} tokens, {limits.MAX_DEPTH} levels, {limits.MAX_ALIASES} aliases",
        f"and {limits.MAX_FIELDS:,} fields",
        f"At most {websocket.MAX_OPERATIONS} operations at a time",
        f"registered by clients | {trusted_documents.REGISTERED_BYTES // 2**20} MiB in all, ",
        f"MiB in all, {trusted_documents.LONGEST_REGISTERED:,} characters each |",
        f"introspection needs the scope `{trusted_documents.INTROSPECTION}`",
        f"| Shards in one mutation | {fields.MAX_SHARDS_PER_CHANGE:,} |",
        f"| Moves in one plan | {planner.MAX_MOVES:,} |",
        f"| Nodes in one simulation | {what_if.MAX_SUPPOSED:,} supposed ones |",
        f"| Page | {paging.MAX_PAGE} items, {paging.DEFAULT_PAGE} by default |",
        f"| Values in one list of a filter | {fields.MAX_FILTER_VALUES:,} |",
    ):
        assert bound in PAGE
