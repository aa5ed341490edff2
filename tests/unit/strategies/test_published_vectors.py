"""The algorithms that placement is made of, against values that others published."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Any, Final

import jump
import mmh3
import numpy as np
import pytest

from strategies.circle import Circle
from strategies.hashing import node_key, node_keys, shard_key, shard_keys, splitmix64, splitmix64_block
from strategies.jump import jump_hash, jump_hashes
from strategies.maglev import fill
from strategies.model import Keys

PUBLISHED: Final[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "golden/published.json").read_text("utf-8"))


@pytest.mark.parametrize("vector", PUBLISHED["murmur3_x64_128"]["vectors"], ids=lambda vector: vector["text"][:9])
def test_the_hash_is_murmur3(vector: dict[str, Any]) -> None:
    words = mmh3.hash64(vector["text"].encode(), seed=vector["seed"], x64arch=True, signed=False)
    assert [str(word) for word in words] == vector["words"]


def test_a_node_key_is_the_first_word_of_murmur3() -> None:
    vector = PUBLISHED["murmur3_x64_128"]["vectors"][0]
    first, second = map(int, vector["words"])
    assert node_key(vector["text"]) == first
    assert node_keys(vector["text"]) == (first, second)


def test_shard_keys_are_those_of_namespace_nul_shard() -> None:
    ids = ["foo", "", "shard-1", "x" * 100]
    keys = [mmh3.hash64(b"space\0" + text.encode(), seed=0, x64arch=True, signed=False)[0] for text in ids]
    assert [shard_key("space", text) for text in ids] == keys
    assert shard_keys("space", ids).tolist() == keys


def test_splitmix64_gives_the_values_that_are_published() -> None:
    seed, values = int(PUBLISHED["splitmix64"]["seed"]), [int(value) for value in PUBLISHED["splitmix64"]["values"]]
    assert list(islice(splitmix64(seed), 3)) == values
    assert splitmix64_block(seed, 3).tolist() == values


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_a_block_of_splitmix64_is_its_stream(seed: int) -> None:
    assert splitmix64_block(seed, 500).tolist() == list(islice(splitmix64(seed), 500))


def test_jump_hash_is_guavas() -> None:
    for vector in PUBLISHED["jump"]["vectors"]:
        key, buckets = int(vector["key"]), vector["buckets"]
        assert jump_hash(key, buckets) == vector["bucket"]
        assert jump_hashes(np.array([key], np.uint64), buckets).tolist() == [vector["bucket"]]


@pytest.mark.parametrize("buckets", [1, 2, 3, 200, 65_537])
def test_jump_hash_is_that_of_the_papers_authors_where_doubles_are_exact(buckets: int) -> None:
    keys = splitmix64_block(buckets, 5_000)
    assert jump_hashes(keys, buckets).tolist() == [jump.hash(key, buckets) for key in keys.tolist()]


def test_the_circle_is_ketamas() -> None:
    ketama = PUBLISHED["ketama"]
    servers = [
        np.concatenate([md5_words(f"{ketama['server']}{server}-{digest}") for digest in range(ketama["digests"])])
        for server in range(ketama["servers"])
    ]
    points = np.concatenate(servers)
    order = np.argsort(points, kind="stable")
    owners = np.repeat(np.arange(len(servers)), [len(points) for points in servers])[order]
    keys = np.array([md5_words(f"{ketama['key']}{at}")[0] for at in range(ketama["keys"])])
    for shift in (np.uint64(0), np.uint64(32)):  # all in one corner of the circle, and all around it
        places = Circle(points[order] << shift).successors(keys << shift)
        assert np.bincount(owners[places]).tolist() == ketama["counts"]


def md5_words(text: str) -> Keys:
    return np.frombuffer(hashlib.md5(text.encode(), usedforsecurity=False).digest(), "<u4").astype(np.uint64)


def test_the_table_is_that_of_the_maglev_paper() -> None:
    maglev = PUBLISHED["maglev"]
    first, second, third = (tuple(pair) for pair in maglev["permutations"])
    assert fill([first, second, third], [0, 1, 2, 0, 1, 2, 0]) == maglev["before"]
    without = fill([first, third], [0, 1, 0, 1, 0, 1, 0])
    assert [[0, 2][place] for place in without] == maglev["after"]
