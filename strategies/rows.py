"""One shard, or some, out of the columns of many."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.hints import Hint
from strategies.model import Shard, Shards


def shard_at(shards: Shards, place: int) -> Shard:
    """The shard at that place. Its hint means what the original one meant, and may be written otherwise."""
    hint = shards.hint_table[shards.hints[place]]
    return Shard(shards.ids[place], float(shards.capacities[place]), hint_text(hint))


def taken(shards: Shards, places: NDArray[np.integer[Any]]) -> Shards:
    """The shards at those places, in that order."""
    result = Shards(
        shards.namespace,
        [shards.ids[place] for place in places.tolist()],
        shards.capacities[places],
        shards.hints[places],
        shards.hint_table,
    )
    vars(result)["keys"] = shards.keys[places]  # known already, and the dearest of the columns
    return result


def hint_text(hint: Hint) -> str | None:
    """What `read_hint` reads the same hint from."""
    if hint.zone is None:
        return None if hint.region is None else f"region:{hint.region}"
    return f"zone:{hint.zone}" if hint.region is None else f"{hint.region}/{hint.zone}"
