"""Locality hints: the region or zone that a shard prefers, read and written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_HINT: Final = re.compile(
    rf"(?P<both_region>{_NAME})/(?P<both_zone>{_NAME})|zone:(?P<zone>{_NAME})|(region:)?(?P<region>{_NAME})"
)


@dataclass(frozen=True, slots=True)
class Hint:
    """A zone of a region, a zone whatever its region, a region, or neither: anywhere."""

    region: str | None = None
    zone: str | None = None


ANYWHERE: Final = Hint()


def read_hint(text: str | None) -> Hint:
    """From `region`, `region:x`, `region/zone` or `zone:x`. Raises ValueError for anything else."""
    if text is None:
        return ANYWHERE
    match = _HINT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:64]!a} is not a locality: write region, region/zone, region:x or zone:x")
    return Hint(match["both_region"] or match["region"], match["both_zone"] or match["zone"])


def hint_text(hint: Hint) -> str | None:
    """What `read_hint` reads the same hint from."""
    if hint.zone is None:
        return None if hint.region is None else f"region:{hint.region}"
    return f"zone:{hint.zone}" if hint.region is None else f"{hint.region}/{hint.zone}"
