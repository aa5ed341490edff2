"""The order in which people count: node-9 before node-10."""

from __future__ import annotations

import re
from typing import Final

_ELEMENT: Final = re.compile(r"[0-9]+|[^0-9]")


def natural_key(text: str) -> tuple[tuple[tuple[int, int], ...], str]:
    """Sorts texts element by element, where an element is a run of ASCII digits or one other character.

    Two runs of digits compare as numbers, anything else as bytes of UTF-8 do; a text that another begins with comes
    before it. Those that only zeros tell apart, as node-9 and node-09, compare as bytes.
    """
    elements = (
        (ord("0"), int(element)) if element[0] in "0123456789" else (ord(element), 0)
        for element in _ELEMENT.findall(text)
    )
    return tuple(elements), text
