"""The tables of other systems: read, written again equal, and every bad line named."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.cli.errors import Exit, Failure
from graph.cli.formats.problems import Problems
from graph.cli.formats.registry import FOREIGN
from graph.cli.importing.parse import NumberedLines, read_file
from persistence.model.fields import identifier_problem

TABLES: Final = Path(__file__).parents[2] / "golden" / "tables"

NOT_GIVEN: Final = {"leaderId": None, "localityHint": None, "antiAffinityGroup": None}


def read(form: str, text: str | bytes) -> tuple[list[dict[str, Any]], list[str]]:
    """What the shards of the table are as the store has them, and the problems."""
    problems = Problems()
    data = text.encode() if isinstance(text, str) else text
    file = read_file(io.BytesIO(data), form, "ns", problems)
    shards = [{"namespace": "ns", "shardId": row.key.shard_id, **NOT_GIVEN, **row.fields} for row in file.rows]
    return shards, list(problems.lines)


def golden(name: str) -> str:
    return (TABLES / name).read_text("utf-8")


def shards_of(form: str, name: str) -> list[dict[str, Any]]:
    shards, problems = read(form, golden(name))
    assert problems == []
    return sorted(shards, key=lambda shard: str(shard["shardId"]))


def written(form: str, shards: list[dict[str, Any]], like: str = "", *, as_json: bool = False) -> str:
    foreign = FOREIGN[form]
    problems = Problems()
    lines = NumberedLines(io.BytesIO(like.encode()), problems)
    write = foreign.write_json if as_json else foreign.write
    assert write is not None
    text = "".join(f"{line}\n" for line in write(shards, lines, problems))
    assert problems.count == 0
    return text


@pytest.mark.parametrize(
    ("form", "name"),
    [("redis", "redis.txt"), ("kafka", "kafka.json"), ("elasticsearch", "elasticsearch.txt"),
     ("elasticsearch", "elasticsearch.json"), ("cassandra", "cassandra.txt"), ("ceph", "ceph.txt"),
     ("ceph", "ceph.json")],
)  # fmt: skip
def test_a_table_goes_out_as_it_came_in(form: str, name: str) -> None:
    shards = shards_of(form, name)
    as_json = name.endswith(".json")
    like = golden(name) if FOREIGN[form].has_more else ""
    assert written(form, shards, like, as_json=as_json) == golden(name)


@pytest.mark.parametrize("name", sorted(path.name for path in TABLES.iterdir()))
def test_what_is_written_without_the_table_is_read_back_as_the_same_shards(name: str) -> None:
    form = name.partition(".")[0].partition("-")[0]
    shards = shards_of(form, name)
    again, problems = read(form, written(form, shards))
    assert problems == []
    if name == "kafka-describe.txt":  # the JSON of Kafka has no leaders
        shards = [shard | {"leaderId": None} for shard in shards]
    assert sorted(again, key=lambda shard: str(shard["shardId"])) == shards


def by_id(form: str, name: str) -> dict[str, tuple[Any, ...]]:
    shown = ("ownerNodeId", "leaderId", "antiAffinityGroup", "localityHint")
    return {shard["shardId"]: tuple(shard[field] for field in shown) for shard in shards_of(form, name)}


def test_slots_of_redis_are_owned_by_their_masters() -> None:
    slots = by_id("redis", "redis.txt")
    assert len(slots) == 32
    assert slots["19"] == ("e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca", None, None, None)


def test_replicas_of_kafka_are_copies_in_one_group() -> None:
    partitions = by_id("kafka", "kafka.json")
    assert partitions["__consumer_offsets-7"] == ("2", None, None, None)
    assert [partitions[shard][0] for shard in ("orders-0", "orders-0/1", "orders-0/2")] == ["1", "2", "3"]
    assert {partitions[shard][2] for shard in ("orders-0", "orders-0/1", "orders-0/2")} == {"orders-0"}


def test_leaders_of_kafka_are_leaders() -> None:
    partitions = by_id("kafka", "kafka-describe.txt")
    assert partitions["orders-1"] == ("2", "3", "orders-1", None)
    assert partitions["orders-2"] == ("3", None, "orders-2", None)


def test_copies_of_elasticsearch_are_those_that_are_assigned() -> None:
    copies = by_id("elasticsearch", "elasticsearch-all.txt")
    assert copies == by_id("elasticsearch", "elasticsearch.txt")
    assert copies["orders[2]"] == ("es-2", None, "orders[2]", None)


def test_tokens_of_cassandra_are_in_their_rack() -> None:
    tokens = by_id("cassandra", "cassandra.txt")
    assert tokens["-9223372036854775808"] == ("10.0.0.11", None, None, "dc1/rack1")
    assert len(tokens) == 5


def test_groups_of_ceph_are_led_by_their_acting_primary_and_have_holes() -> None:
    groups = by_id("ceph", "ceph.txt")
    assert groups["1.1f"] == ("osd.0", "osd.2", "1.1f", None)
    assert "2.0/1" not in groups
    assert groups["2.0/2"] == ("osd.5", None, "2.0", None)


def test_a_slot_that_moved_is_written_with_its_node_and_a_replica_that_took_over_is_a_master() -> None:
    shards = shards_of("redis", "redis.txt")
    replica = "07c37dfeb235213a872192d90877d0cd55635b91"
    for shard in shards:
        if shard["shardId"] == "20":
            shard["ownerNodeId"] = replica
        if shard["shardId"] == "31":
            shard["ownerNodeId"] = "f" * 40
    lines = written("redis", shards, golden("redis.txt")).splitlines()
    assert lines[0] == f"{replica} 127.0.0.1:30004@31004,hostname4 master - 0 1426238317239 4 connected 20"
    assert lines[1].endswith("connected 12-18")
    assert lines[-1] == f"{'f' * 40} :0@0 master,noaddr - 0 0 0 disconnected 31"


@pytest.mark.parametrize(
    ("form", "text", "problem"),
    [
        ("redis", "a b\n", "line 1: has 2 fields, a line of CLUSTER NODES has at least 8"),
        ("redis", "\nx 1 master - 0 0 0 connected 1\n", "line 2: begins with 'x', which is no node id: 40 hex digits"),
        ("redis", f"{'a' * 40} 1 master - 0 0 0 connected 5-1\n",
         "line 1: '5-1' is no slot, nor a range of slots from 0 to 16383"),
        ("redis", f"{'a' * 40} 1 master - 0 0 0 connected 16384\n",
         "line 1: '16384' is no slot, nor a range of slots from 0 to 16383"),
        ("redis", f"{'a' * 40} 1 slave {'b' * 40} 0 0 0 connected 1\n",
         "line 1: gives slots to a node that is no master, but 'slave'"),
        ("redis", f"{'a' * 40} 1 master - 0 0 0 connected 1\n{'b' * 40} 1 master - 0 0 0 connected 0-1\n",
         "line 2, shardId: names ns/1 again, after line 1"),
        ("kafka", '{"partitions":[\n\n{"topic":"b","partition":-1,"replicas":[1]}]}',
         "line 3: '-1' is no partition: a whole number, 0 or more"),
        ("kafka", '{"partitions":[\n\n7]}', "line 3, partitions[0]: must be an object, in braces"),
        ("kafka", '{"partitions":[{"topic":"a","partition":0}]}',
         "line 1, partitions[0].replicas: must be an array of brokers"),
        ("kafka", '{"partitions":[{"topic":"a","partition":0,"replicas":[true]}]}',
         "line 1: 'True' is no broker: a whole number, 0 or more"),
        ("kafka", '{"partitions":[{"topic":"a","partition":0,"replicas":[1,1]}]}',
         "line 1: a-0 has two replicas at one broker"),
        ("kafka", '{"topics":[]}', "line 1: has no array partitions"),
        ("kafka", '{"partitions":\n[}', "line 2: is not JSON: Expecting value at character 2"),
        ("kafka", "[" * 100_000, "line 1: is nested too deeply"),
        ("kafka", '{"partitions":[' + "1" * 5_000 + "]}", "line 1: holds a number that is too long"),
        ("kafka", "Topic: a\n", "line 1: is neither JSON nor a line of kafka-topics --describe"),
        ("elasticsearch", "a b c\n", "line 1: is no header of _cat/shards?v with index, shard, prirep, node"),
        ("elasticsearch", "index shard prirep node ip\n",
         "line 1: must end with the column node: names of nodes may have blanks in them"),
        ("elasticsearch", "index shard prirep state node\na 0 p STARTED\n", "line 2: has 4 fields, the header has 5"),
        ("elasticsearch", "index shard prirep state docs node\na 0 p INITIALIZING es hot\n",
         "line 2: has 6 fields, the header has 6"),
        ("elasticsearch",
         "index shard prirep state        docs node\na     0     r      INITIALIZING      es hot 3\n",
         f"line 2, ownerNodeId: {identifier_problem('es hot 3')}"),
        ("elasticsearch", "index shard prirep node\na x p n\n", "line 2, shard: 'x' is no number of a shard"),
        ("elasticsearch", "index shard prirep node\na 0 q n\n", "line 2, prirep: 'q' is neither p nor r"),
        ("elasticsearch", '[{"index":"a","shard":"0","prirep":[],"node":"n"}]',
         "line 1, prirep: '[]' is neither p nor r"),
        ("elasticsearch", "index shard prirep node\na 0 p n\na 0 p m\n",
         "line 3: is a second primary of a[0], after line 2"),
        ("elasticsearch", '[{"index":"a","shard":"0","prirep":"p","node":7}]',
         "line 1, [0].node: must be a string or null"),
        ("elasticsearch", '[{"shard":"0"}]', "line 1, index: is missing"),
        ("elasticsearch", "{}", "line 1: must be an array, in brackets"),
        ("cassandra", "10.0.0.1 r Up Normal ? ? 1\n", "line 1: stands before a line 'Datacenter: ...'"),
        ("cassandra", "Datacenter: d\n10.0.0.1 r Gone\n",
         "line 2: is no line of nodetool ring: address, rack, status, state, load, share and token"),
        ("ceph", "PG STATE\n",
         "line 1: is no header of ceph pg dump with PG_STAT, STATE, UP, UP_PRIMARY, ACTING, ACTING_PRIMARY"),
        ("ceph", "PG_STAT STATE UP UP_PRIMARY ACTING ACTING_PRIMARY\n1.0 active\n",
         "line 2: has 2 fields, the header has 6"),
        ("ceph", "PG_STAT STATE UP UP_PRIMARY ACTING ACTING_PRIMARY\n1 a [1] 1 [1] 1\n",
         "line 2: '1' is no id of a placement group, such as 1.2f"),
        ("ceph", "PG_STAT STATE UP UP_PRIMARY ACTING ACTING_PRIMARY\n1.0 a [1] 1 1 1\n",
         "line 2: '1' is no acting set, such as [3,0,2]"),
        ("ceph", "PG_STAT STATE UP UP_PRIMARY ACTING ACTING_PRIMARY\n1.0 a [1] 1 [1,1] 1\n",
         "line 2: 1.0 is twice at one OSD"),
        ("ceph", "PG_STAT STATE UP UP_PRIMARY ACTING ACTING_PRIMARY\n1.0 a [1] 1 [1] x\n",
         "line 2: 'x' is no acting_primary: the number of an OSD, or -1"),
        ("ceph", '{"pg_stats":[{"pgid":"1.0","up":[1],"acting":[1],"up_primary":1,"acting_primary":1}]}',
         "line 1: 'None' is no state"),
    ],
    ids=range(37),
)  # fmt: skip
def test_a_line_that_will_not_do_is_reported(form: str, text: str, problem: str) -> None:
    assert read(form, text)[1] == [problem]


@pytest.mark.parametrize("form", FOREIGN)
def test_a_table_with_nothing_in_it_is_a_mistake(form: str) -> None:
    assert read(form, "\n")[1] == ["line 1: there is nothing in it"]


@pytest.mark.parametrize(
    ("form", "shard", "why"),
    [
        ("redis", {"shardId": "s1"}, "slots are numbers from 0 to 16383"),
        ("redis", {"shardId": "007"}, "slots are numbers from 0 to 16383"),
        ("redis", {"shardId": "16384"}, "slots are numbers from 0 to 16383"),
        ("redis", {"shardId": "1"}, "its owner n1 is no id of 40 hex digits"),
        ("kafka", {"shardId": "s1"}, "partitions are called topic-partition"),
        ("kafka", {"shardId": "s-1"}, "its owner n1 is no number of a broker"),
        ("elasticsearch", {"shardId": "s1"}, "shards are called index[number]"),
        ("cassandra", {"shardId": "1"}, "it has no locality of datacenter and rack, such as dc1/rack1"),
        ("cassandra", {"shardId": "x", "localityHint": "d/r"}, "tokens are whole numbers"),
        ("ceph", {"shardId": "s1"}, "placement groups are called pool.number, such as 1.2f"),
        ("ceph", {"shardId": "1.0"}, "its owner n1 is not called osd.N"),
        ("ceph", {"shardId": "1.0", "ownerNodeId": "osd.1", "leaderId": "r1"}, "its leader r1 is not called osd.N"),
    ],
    ids=range(12),
)
def test_a_shard_that_is_none_of_that_system_is_named(form: str, shard: dict[str, Any], why: str) -> None:
    full = {"namespace": "ns", "ownerNodeId": "n1", **NOT_GIVEN, **shard}
    with pytest.raises(Failure) as refused:
        written(form, [full])
    assert refused.value.exit is Exit.INVALID
    assert refused.value.message == f"ns/{shard['shardId']} cannot be written in this format: {why}."


TOKENS: Final = st.sampled_from(
    [b"[", b"]", b"{", b"}", b",", b":", b" ", b"\n", b"1", b"-1", b"index shard prirep state node", b"Datacenter: d",
     b'"partitions"', b'"pg_stats"', b'"pg_map"', b"STARTED", b"UNASSIGNED", b"p", b"r", b"0-5", b"a" * 40,
     b"PG_STAT STATE UP UP_PRIMARY ACTING ACTING_PRIMARY", b"[1,2]", b"1.0", b"Topic: a", b"\xff", b"null", b'"a"']
)  # fmt: skip


@given(st.sampled_from(sorted(FOREIGN)), st.lists(TOKENS | st.binary(max_size=5), max_size=40).map(b" ".join))
def test_any_bytes_are_shards_or_problems_and_never_an_exception(form: str, data: bytes) -> None:
    shards, _ = read(form, data)
    assert all(identifier_problem(shard["shardId"]) is None for shard in shards)


@given(st.sampled_from(sorted(FOREIGN)), st.data())
def test_a_damaged_table_is_shards_or_problems_and_never_an_exception(form: str, data: st.DataObject) -> None:
    text = bytearray(golden(f"{form}.json" if form == "kafka" else f"{form}.txt").encode())
    for position in data.draw(st.lists(st.integers(0, len(text) - 1), max_size=4)):
        text[position] = data.draw(st.integers(0, 255))
    shards, _ = read(form, bytes(text))
    assert all(identifier_problem(shard["shardId"]) is None for shard in shards)


@pytest.mark.parametrize("piece", ["a", "1", "=", " ", "[", "-1 ", "a: ", "a:b", '"', "1.", "-", ",", "1,"])
@pytest.mark.parametrize("form", sorted(FOREIGN))
def test_a_long_line_is_read_in_a_time_that_is_linear_in_it(form: str, piece: str) -> None:
    """600,000 characters take milliseconds. In a quadratic time they take half an hour, and a test is ended before."""
    assert read(form, piece * (600_000 // len(piece)))[0] == []


@pytest.mark.parametrize("number", ["1" * 100_000 + "x", "." * 100_000, "1." * 50_000, "1e" * 50_000])
def test_a_long_number_is_refused_in_a_time_that_is_linear_in_it(number: str) -> None:
    lines = [b"namespace,shardId,ownerNodeId,capacityHint\n", f"a,b,c,{number}\n".encode()]
    problems = Problems()
    assert read_file(lines, "csv", None, problems).rows == []
    assert list(problems.lines)
