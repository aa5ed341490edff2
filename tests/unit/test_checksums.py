"""Our checksums against vectors made by another implementation (golden/checksums.mjs) and by others altogether."""

from __future__ import annotations

import json
from datetime import datetime
from functools import reduce
from operator import xor
from pathlib import Path
from typing import Any, Final

import mmh3
import pytest

from persistence.codec.encoding import EMPTY_DIGEST, Field, digest_term, encode, format_digest, shard_checksum
from persistence.model.records import Pin, ShardContent, ShardKey, ShardStatus

GOLDEN: Final = json.loads((Path(__file__).parent.parent / "golden" / "checksums.json").read_text("utf-8"))


def words(data: bytes, seed: int) -> list[str]:
    return [str(word) for word in mmh3.hash64(data, seed=seed, x64arch=True, signed=False)]


def field(case: dict[str, Any]) -> Field:
    match case["type"]:
        case "bytes":
            return bytes.fromhex(case["value"])
        case "integer":
            return int(case["value"])
        case "real":
            return float(case["value"])
        case "time":
            return datetime.fromisoformat(case["value"])
        case _:
            value: str | None = case["value"]
            return value


def pin(document: dict[str, Any] | None) -> Pin | None:
    if document is None:
        return None
    until = document["until"]
    return Pin(document["by"], document["reason"], until and datetime.fromisoformat(until))


def key(shard: dict[str, Any]) -> ShardKey:
    return ShardKey(shard["namespace"], shard["shardId"])


def content(shard: dict[str, Any]) -> ShardContent:
    return ShardContent(
        strategy=shard["strategy"],
        owner_node_id=shard["ownerNodeId"],
        leader_id=shard["leaderId"],
        capacity_hint=float(shard["capacityHint"]),
        locality_hint=shard["localityHint"],
        status=ShardStatus(shard["status"]),
        pinned=pin(shard["pinned"]),
        change_ticket=shard["changeTicket"],
        anti_affinity_group=shard["antiAffinityGroup"],
    )


@pytest.mark.parametrize("vector", GOLDEN["published"], ids=lambda vector: vector["text"])
def test_the_hash_is_the_one_others_published(vector: dict[str, Any]) -> None:
    assert words(vector["text"].encode(), vector["seed"]) == vector["words"]


@pytest.mark.parametrize("vector", GOLDEN["murmur"], ids=lambda vector: f"{len(vector['bytes']) // 2} bytes")
def test_the_hash_agrees_with_the_second_implementation(vector: dict[str, Any]) -> None:
    assert words(bytes.fromhex(vector["bytes"]), vector["seed"]) == vector["words"]


@pytest.mark.parametrize("case", GOLDEN["fields"], ids=lambda case: f"{case['type']} {case['value']!a}")
def test_a_field_is_encoded_as_the_second_implementation_does(case: dict[str, Any]) -> None:
    assert encode(field(case)).hex() == case["encoded"]


@pytest.mark.parametrize("case", GOLDEN["shards"], ids=lambda case: case["about"])
def test_a_shard_has_the_published_checksum(case: dict[str, Any]) -> None:
    assert shard_checksum(key(case["shard"]), content(case["shard"])) == case["checksum"]


@pytest.mark.parametrize("case", GOLDEN["shards"], ids=lambda case: case["about"])
def test_the_published_bytes_hash_to_the_published_checksum(case: dict[str, Any]) -> None:
    first, second = words(bytes.fromhex(case["encoded"]), 0)
    assert f"{int(first):016x}{int(second):016x}" == case["checksum"]


@pytest.mark.parametrize("entry", GOLDEN["entries"], ids=lambda entry: f"{entry['shardId']} v{entry['version']}")
def test_a_shard_contributes_the_published_term(entry: dict[str, Any]) -> None:
    term = digest_term(entry["shardId"], int(entry["version"]), entry["checksum"])
    assert format_digest(term) == entry["term"]


@pytest.mark.parametrize("case", GOLDEN["digests"], ids=lambda case: case["about"])
def test_a_namespace_has_the_published_digest(case: dict[str, Any]) -> None:
    entries = [GOLDEN["entries"][position] for position in case["entries"]]
    terms = [digest_term(entry["shardId"], int(entry["version"]), entry["checksum"]) for entry in entries]
    assert format_digest(reduce(xor, terms, 0)) == case["digest"]


def test_the_vectors_tell_every_shard_from_every_other() -> None:
    """Only the two spellings of zero are one shard."""
    by_checksum: dict[str, list[str]] = {}
    for case in GOLDEN["shards"]:
        by_checksum.setdefault(case["checksum"], []).append(case["about"])
    assert [names for names in by_checksum.values() if len(names) > 1] == [
        ["no capacity", "no capacity, written as negative zero: the same checksum"]
    ]


def test_an_empty_namespace_has_digest_zero() -> None:
    assert format_digest(0) == EMPTY_DIGEST == GOLDEN["digests"][0]["digest"]
