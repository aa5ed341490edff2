"""Files to import: every way one can be wrong is reported with its line and column, and nothing else is."""

from __future__ import annotations

import hashlib
import io
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.cli.errors import Exit, Failure
from graph.cli.formats.problems import Problems
from graph.cli.importing.parse import ShardFile, read_file
from persistence.model.fields import identifier_problem
from persistence.model.records import IDENTIFIER_PATTERN, ShardKey, ShardStatus

HEADER: Final = "namespace,shardId,ownerNodeId"
ALL: Final = f"{HEADER},leaderId,capacityHint,localityHint,status"
COLUMNS: Final = f"{ALL},antiAffinityGroup"
THERE_ARE: Final = f"there are {COLUMNS.replace(',', ', ')}"
NO_IDENTIFIER: Final = (
    "is not an identifier: letters, digits and . _ : - @ / + = [ ], beginning with a letter, a digit or . _ -"
)
NO_NAME: Final = "is not a name: letters, digits, '.', '_', ':' and '-', beginning with a letter or digit"
NO_LOCALITY: Final = "is not a locality: write 'region', 'region/zone', 'zone:x' or 'region:x'"


def read(text: str | bytes, form: str = "csv", namespace: str | None = None) -> tuple[ShardFile, list[str]]:
    problems = Problems()
    data = text.encode() if isinstance(text, str) else text
    return read_file(io.BytesIO(data), form, namespace, problems), list(problems.lines)


def rows(text: str | bytes, form: str = "csv", namespace: str | None = None) -> list[tuple[ShardKey, dict[str, Any]]]:
    """The rows of a file that must be valid."""
    file, problems = read(text, form, namespace)
    assert problems == []
    return [(row.key, row.fields) for row in file.rows]


def problems_in(text: str | bytes, form: str = "csv", namespace: str | None = None) -> list[str]:
    return read(text, form, namespace)[1]


def test_a_row_gives_its_shard_and_its_fields() -> None:
    text = f"{ALL}\norders,s1,node-1,r1,2.5,eu/a,DRAINING\n"
    fields = {
        "ownerNodeId": "node-1",
        "leaderId": "r1",
        "capacityHint": 2.5,
        "localityHint": "eu/a",
        "status": "DRAINING",
    }
    assert rows(text) == [(ShardKey("orders", "s1"), fields)]


def test_columns_may_come_in_any_order() -> None:
    assert rows("ownerNodeId,shardId,namespace\nn1,s1,orders\n") == [(ShardKey("orders", "s1"), {"ownerNodeId": "n1"})]


def test_an_empty_field_clears_where_there_can_be_none_and_else_says_nothing() -> None:
    text = f"{ALL}\norders,s1,n1,,,,\n"
    assert rows(text) == [(ShardKey("orders", "s1"), {"ownerNodeId": "n1", "leaderId": None, "localityHint": None})]


def test_a_column_that_is_missing_gives_nothing() -> None:
    assert rows(f"{HEADER}\norders,s1,n1\n") == [(ShardKey("orders", "s1"), {"ownerNodeId": "n1"})]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_blank_lines_and_either_line_end_are_accepted(end: str) -> None:
    lines = [HEADER, "", "orders,s1,n1", "  ", '"orders",s2,"n1"', ""]
    expected = [(ShardKey("orders", shard), {"ownerNodeId": "n1"}) for shard in ("s1", "s2")]
    assert rows(b"\xef\xbb\xbf" + end.join(lines).encode()) == expected


def test_the_last_line_needs_no_end() -> None:
    assert len(rows(f"{HEADER}\norders,s1,n1")) == 1


def test_the_namespace_of_the_command_line_stands_in_for_the_column() -> None:
    assert rows("shardId,ownerNodeId\ns1,n1\n", namespace="orders") == [
        (ShardKey("orders", "s1"), {"ownerNodeId": "n1"})
    ]
    assert rows('{"shardId":"s1","ownerNodeId":"n1"}\n', "jsonl", "orders") == [
        (ShardKey("orders", "s1"), {"ownerNodeId": "n1"})
    ]


def test_a_row_of_another_namespace_than_the_command_line_says_is_a_mistake() -> None:
    assert problems_in(f"{HEADER}\nother,s1,n1\n", namespace="orders") == [
        "line 2, namespace: is other, but --namespace says orders"
    ]


@pytest.mark.parametrize("text", ["", "\n\n", b"\xef\xbb\xbf", "  \r\n"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_file_with_nothing_in_it_is_a_mistake(text: str | bytes, form: str) -> None:
    assert problems_in(text, form) == ["line 1: there is nothing in it"]


def test_a_header_without_rows_is_the_export_of_an_empty_namespace() -> None:
    assert rows(HEADER + "\n") == []


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("namespace,shardId", "line 1: the column ownerNodeId is missing"),
        ("namespace,ownerNodeId", "line 1: the column shardId is missing"),
        ("shardId,ownerNodeId", "line 1: the column namespace is missing, unless --namespace says it"),
        (HEADER + ",owner", "line 1: there is no column 'owner'; did you mean ownerNodeId?"),
        (HEADER + ",zzz", f"line 1: there is no column 'zzz': {THERE_ARE}"),
        (HEADER + ",shardId", "line 1: names a column twice: shardId"),
        ("namespace;shardId;ownerNodeId", f"line 1: is not a header, fields separated by commas, such as {COLUMNS}"),
        (HEADER + ',"status', "line 1: is broken: a quote is never closed"),
    ],
)  # fmt: skip
def test_a_header_that_will_not_do_is_refused_by_name(header: str, problem: str) -> None:
    assert problems_in(f"{header}\norders,s1,n1,x\n") == [problem]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("orders,s1", "line 2: has 2 fields, the header has 7"),
        ("orders,s1,n1,,,,,", "line 2: has 8 fields, the header has 7"),
        ('orders,"s1,n1,,,,', "line 2: is broken: a quote is never closed"),
        ('orders,"s1"x,n1,,,,', "line 2: is broken: ',' expected after '\"'"),
        (",s1,n1,,,,", "line 2, namespace: must not be empty"),
        ("orders,,n1,,,,", "line 2, shardId: must not be empty"),
        ("orders,s1,,,,,", "line 2, ownerNodeId: must not be empty"),
        ("orders,s1,n1,two words,,,", f"line 2, leaderId: 'two words' {NO_IDENTIFIER}"),
        ("orders,s1,n1,,much,,", "line 2, capacityHint: must be a number, not 'much'"),
        ("orders,s1,n1,,1_000,,", "line 2, capacityHint: must be a number, not '1_000'"),
        ("orders,s1,n1,,NaN,,", "line 2, capacityHint: must be a finite number"),
        ("orders,s1,n1,,inf,,", "line 2, capacityHint: must be a finite number"),
        ("orders,s1,n1,,1e999,,", "line 2, capacityHint: must be a finite number"),
        ("orders,s1,n1,,-1,,", "line 2, capacityHint: must be 0 or more, not -1"),
        ("orders,s1,n1,,,a/b/c,", f"line 2, localityHint: 'a/b/c' {NO_LOCALITY}"),
        ("orders,s1,n1,,,,active", "line 2, status: 'active' is no status: ACTIVE, DRAINING, PAUSED, DISABLED"),
    ],
)  # fmt: skip
def test_a_row_that_will_not_do_is_reported_with_line_and_column(row: str, problem: str) -> None:
    text = f"{ALL}\n{row}\norders,good,n1,,,,\n"
    file, problems = read(text)
    assert problems == [problem]
    assert [row.key.shard_id for row in file.rows] == ["good"]


def test_a_line_that_is_not_utf_8_is_reported_with_its_byte() -> None:
    assert problems_in(f"{HEADER}\norders,s".encode() + b"\xff,n1\n") == ["line 2: is not UTF-8: byte 9 is 0xff"]


def test_a_shard_that_is_named_twice_names_the_first_line() -> None:
    text = f"{HEADER}\norders,s1,n1\norders,s2,n1\norders,s1,n2\n"
    assert problems_in(text) == ["line 4, shardId: names orders/s1 again, after line 2"]


def test_an_unclosed_quote_hides_no_line_after_it() -> None:
    text = f'{HEADER}\norders,"s1,n1\norders,s 2,n1\n'
    assert [line.split(":")[0] for line in problems_in(text)] == ["line 2", "line 3, shardId"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"shardId": "s1"', "line 1: is not JSON: Expecting ',' delimiter at character 17"),
        ("[]", "line 1: must be an object, in braces"),
        ('{"shardId":"s1","shardId":"s1"}', "line 1: names a member twice"),
        ('{"owner":"n1"}', f"line 1: there is no member 'owner': {THERE_ARE}"),
        ('{"capacityHint":NaN}', "line 1: NaN is not JSON: numbers must be finite"),
        ("[" * 100_000, "line 1: is nested too deeply"),
        ('{"namespace":"o","shardId":"s","ownerNodeId":"n","capacityHint":1e999}',
         "line 1, capacityHint: must be a finite number"),
        ('{"namespace":"o","shardId":"s","ownerNodeId":"n","capacityHint":1' + "0" * 400 + "}",
         "line 1, capacityHint: must be a finite number"),
        ('{"namespace":"o","shardId":"s","ownerNodeId":"n","capacityHint":true}',
         "line 1, capacityHint: must be a number, not 'True'"),
        ('{"namespace":"o","shardId":"s","ownerNodeId":"n","capacityHint":null}', "line 1, capacityHint: is missing"),
        ('{"namespace":"o","shardId":1.5,"ownerNodeId":"n"}', "line 1, shardId: must be a string, not '1.5'"),
        ('{"namespace":"o","shardId":true,"ownerNodeId":"n"}', "line 1, shardId: must be a string, not 'True'"),
        ('{"namespace":"o","shardId":' + "1" * 128 + ',"ownerNodeId":"n"}',
         "line 1, shardId: is a number that is too long"),
        ('{"namespace":7,"shardId":"s","ownerNodeId":"n"}', "line 1, namespace: must be a string, not '7'"),
        ('{"namespace":"a/b","shardId":"s","ownerNodeId":"n"}',
         f"line 1, namespace: 'a/b' {NO_NAME}"),
        ('{"namespace":"o","shardId":"s"}', "line 1, ownerNodeId: is missing"),
        ('{"shardId":"s","ownerNodeId":"n"}', "line 1, namespace: is missing"),
        ('{"namespace":"o","shardId":"s","ownerNodeId":"n","status":"GONE"}',
         "line 1, status: 'GONE' is no status: ACTIVE, DRAINING, PAUSED, DISABLED"),
    ],
    ids=range(18),
)  # fmt: skip
def test_a_line_of_json_that_will_not_do_is_reported(line: str, problem: str) -> None:
    assert problems_in(line + "\n", "jsonl") == [problem]


def test_whole_numbers_in_json_are_ids() -> None:
    line = '{"namespace":"o","shardId":-9223372036854775808,"ownerNodeId":7,"leaderId":0}'
    fields = {"ownerNodeId": "7", "leaderId": "0"}
    assert rows(line, "jsonl") == [(ShardKey("o", "-9223372036854775808"), fields)]


def test_null_clears_in_json_and_whole_numbers_are_capacities() -> None:
    line = '{"namespace":"o","shardId":"s","ownerNodeId":"n","leaderId":null,"localityHint":null,"capacityHint":2}'
    fields = {"ownerNodeId": "n", "leaderId": None, "localityHint": None, "capacityHint": 2.0}
    assert rows(line, "jsonl") == [(ShardKey("o", "s"), fields)]


def test_twenty_problems_are_shown_and_all_are_counted() -> None:
    problems = Problems()
    text = HEADER + "\n" + "orders,s 1,n1\n" * 25
    read_file(io.BytesIO(text.encode()), "csv", None, problems)
    with pytest.raises(Failure) as refused:
        problems.raise_if_any("slots.csv")
    assert refused.value.exit is Exit.INVALID
    assert refused.value.message == "slots.csv cannot be imported, nothing was written: 25 problems."
    assert len(refused.value.advice) == 21
    assert refused.value.advice[-1] == "  and 5 more"


def test_the_digest_is_that_of_the_bytes() -> None:
    data = b"\xef\xbb\xbf" + f"{HEADER}\r\norders,s1,n1\r\n".encode()
    assert read(data)[0].digest == hashlib.sha256(data).hexdigest()


identifiers = st.from_regex(IDENTIFIER_PATTERN, fullmatch=True)


@given(
    owner=identifiers,
    leader=st.none() | identifiers,
    capacity=st.floats(min_value=0, allow_nan=False, allow_infinity=False),
    status=st.sampled_from(ShardStatus),
)
def test_what_is_written_out_is_read_back(owner: str, leader: str | None, capacity: float, status: ShardStatus) -> None:
    line = f"orders,s1,{owner},{leader or ''},{capacity!r},,{status}"
    expected = {
        "ownerNodeId": owner,
        "leaderId": leader,
        "capacityHint": capacity,
        "localityHint": None,
        "status": status,
    }
    assert rows(f"{ALL}\n{line}\n") == [(ShardKey("orders", "s1"), expected)]


def check_identifiers(data: bytes, form: str) -> None:
    """Whatever is wrong with the data, what is read of it are shards that there may be."""
    file, _ = read(data, form)
    assert all(identifier_problem(row.key.shard_id) is None for row in file.rows)


@given(st.binary(max_size=200), st.sampled_from(["csv", "jsonl"]))
def test_any_bytes_are_rows_or_problems_and_never_an_exception(data: bytes, form: str) -> None:
    check_identifiers(data, form)


@given(st.text(max_size=200), st.sampled_from(["csv", "jsonl"]))
def test_any_rows_are_rows_or_problems_and_never_an_exception(text: str, form: str) -> None:
    check_identifiers(f"{HEADER},capacityHint\n{text}".encode("utf-8", "surrogatepass"), form)
