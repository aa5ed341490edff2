"""Filters of subscribers, and which rows of history they must therefore get: defined anew, not by the store's code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import mmh3

Image: TypeAlias = Mapping[str, Any]
"""A shard as a JSON object, of the API or of history: they name its fields alike."""

NAMESPACES: Final = ("billing", "orders", "sessions", "telemetry")
CONTESTED: Final = "contested"
OWNERS: Final = tuple(f"node-{number}" for number in range(12))
STATUSES: Final = ("ACTIVE", "DRAINING", "PAUSED", "DISABLED")


@dataclass(frozen=True, slots=True)
class Watch:
    """A subscription's arguments. What is null does not restrict."""

    namespace: str | None = None
    owner: str | None = None
    status: str | None = None
    search: str | None = None

    def __str__(self) -> str:
        given = {"namespace": self.namespace, "owner": self.owner, "status": self.status, "search": self.search}
        return ", ".join(f"{name} {value}" for name, value in given.items() if value is not None) or "everything"

    @property
    def filter(self) -> dict[str, Any]:
        return {
            "ownerNodeIds": None if self.owner is None else [self.owner],
            "statuses": None if self.status is None else [self.status],
            "search": self.search,
        }

    def shows(self, image: Image | None) -> bool:
        """Whether a list would have this shard."""
        return (
            image is not None
            and self.namespace in {None, image["namespace"]}
            and self.owner in {None, image["ownerNodeId"]}
            and self.status in {None, image["status"]}
            and (self.search is None or self.search in image["shardId"])
        )

    def wants(self, previous: Image | None, current: Image | None) -> bool:
        """A shard that leaves what is watched is news too."""
        return self.shows(previous) or self.shows(current)


WATCHES: Final = (
    Watch(),
    Watch(namespace=NAMESPACES[0]),
    Watch(owner=OWNERS[0]),
    Watch(status="DRAINING"),
    Watch(search="7"),
    Watch(namespace=CONTESTED),
    Watch(namespace=NAMESPACES[1], owner=OWNERS[1]),
    Watch(search="-00"),
    Watch(namespace=NAMESPACES[2], status="PAUSED"),
    Watch(owner=OWNERS[2]),
)


def diff_fingerprint(diff: Image) -> int:
    """64 bits over everything that was asked of a diff, whether the API or history shows it. The change is named by its
    hash: one that is made again after a failover lost it is not the same.
    """
    previous, current = diff["previous"], diff["current"]
    changed = ",".join(diff["changedFields"])
    line = (
        f"{diff['kind']}|{diff['namespace']}|{diff['shardId']}|{diff['version']}|{changed}|{diff['change']['hash']}|"
        f"{_line(previous) if previous else ''}|{_line(current) if current else ''}"
    )
    return _hash(line)


def shard_fingerprint(image: Image) -> int:
    return _hash(f"{image['namespace']}|{image['shardId']}|{_line(image)}")


def _line(image: Image) -> str:
    return f"{image['version']}/{image['checksum']}/{image['ownerNodeId']}/{image['status']}"


def _hash(line: str) -> int:
    return mmh3.hash64(line)[0]
