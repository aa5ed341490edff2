"""Label selectors: which nodes may own the shards of a namespace, in the notation of Kubernetes.

`disk=ssd,tier!=test,rack in (r1, r2),zone notin (eu-1),gpu,!spot`: every requirement has to be met. As there, a node
without the label meets `!=` and `notin`. Also `node` (the id), `region` and `zone` can be required, where the node has
no label of that name. Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from strategies.model import Node

MAX_LENGTH: Final = 1_024

_WHITE: Final = " \t\r\n"
_DELIMITERS: Final = _WHITE + "!=,()"
_KEY: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?")
# A colon, which Kubernetes does not allow, because node ids may have one.
_VALUE: Final = re.compile(r"[A-Za-z0-9._:-]{0,128}")
_FILLED: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_OPERATOR: Final = re.compile(r"in|notin")

_A_KEY: Final = "a key of up to 128 letters, digits and ._/-, the first and last of them a letter or digit"
_A_VALUE: Final = "a value of up to 128 letters, digits and ._:-"
_ANY_OTHER_VALUE: Final = "\0"


@dataclass(frozen=True, slots=True)
class Requirement:
    """That a label has one of `values` (None: any value), or if `negated` that it has not. `text` as it was written."""

    text: str
    key: str
    values: frozenset[str] | None
    negated: bool = False

    def admits(self, value: str | None) -> bool:
        """`value` is the node's, None without one."""
        met = value is not None and (self.values is None or value in self.values)
        return met is not self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements that a node meets all of. Without any it matches every node."""

    text: str
    requirements: tuple[Requirement, ...]

    def matches(self, node: Node) -> bool:
        return all(requirement.admits(_value(node, requirement.key)) for requirement in self.requirements)

    def contradiction(self) -> str | None:
        """None, or a predicate that names requirements which no node can meet together.

        A requirement treats all values that it does not name alike: trying one is enough.
        """
        for key in dict.fromkeys(requirement.key for requirement in self.requirements):
            together = [requirement for requirement in self.requirements if requirement.key == key]
            named = {value for requirement in together for value in requirement.values or ()}
            absent = () if key == "node" else (None,)
            if not any(all(one.admits(value) for one in together) for value in (*absent, *named, _ANY_OTHER_VALUE)):
                return f"matches no node, whatever its labels: {', '.join(one.text for one in together)}"
        return None


def read_selector(text: str) -> Selector:
    """Raises ValueError with a predicate that names where `text` cannot be read, counting characters from 1."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"must have at most {MAX_LENGTH:,} characters, not {len(text):,}")
    return Selector(text, tuple(_Reader(text).requirements()))


def _value(node: Node, key: str) -> str | None:
    if key in node.labels:
        return node.labels[key]
    match key:
        case "node":
            return node.node_id
        case "region":
            return node.region
        case "zone":
            return node.zone
        case _:
            return None


class _Reader:
    """Recursive descent. `_at` is where the next character is that is not white space."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._go_to(0)

    def requirements(self) -> Iterator[Requirement]:
        if self._ended():
            return
        yield self._requirement()
        while not self._ended():
            self._expect(",", "a comma")
            yield self._requirement()

    def _requirement(self) -> Requirement:
        start = self._at
        absent = self._take("!")
        key = self._word(_KEY, _A_KEY)
        values, negated = (None, True) if absent else self._condition()
        return Requirement(self._text[start : self._at].rstrip(_WHITE), key, values, negated)

    def _condition(self) -> tuple[frozenset[str] | None, bool]:
        """The values that are required (None: any), and whether they are excluded instead."""
        if self._ended() or self._text[self._at] == ",":
            return None, False
        if self._take("!="):
            return frozenset({self._word(_VALUE, _A_VALUE)}), True
        if self._take("==") or self._take("="):
            return frozenset({self._word(_VALUE, _A_VALUE)}), False
        negated = self._word(_OPERATOR, "=, ==, !=, in, notin or a comma") == "notin"
        return self._list(), negated

    def _list(self) -> frozenset[str]:
        """Kubernetes takes nothing between commas for the empty value. It is more likely a slip, so it is refused."""
        self._expect("(", "an opening bracket")
        values = {self._word(_FILLED, _A_VALUE)}
        while not self._take(")"):
            self._expect(",", "a comma or a closing bracket")
            values.add(self._word(_FILLED, _A_VALUE))
        return frozenset(values)

    def _word(self, allowed: re.Pattern[str], expected: str) -> str:
        end = self._at
        while end < len(self._text) and self._text[end] not in _DELIMITERS:
            end += 1
        word = self._text[self._at : end]
        if not allowed.fullmatch(word):
            self._fail(expected)
        self._go_to(end)
        return word

    def _take(self, symbol: str) -> bool:
        taken = self._text.startswith(symbol, self._at)
        if taken:
            self._go_to(self._at + len(symbol))
        return taken

    def _expect(self, symbol: str, name: str) -> None:
        if not self._take(symbol):
            self._fail(name)

    def _go_to(self, at: int) -> None:
        while at < len(self._text) and self._text[at] in _WHITE:
            at += 1
        self._at = at

    def _ended(self) -> bool:
        return self._at == len(self._text)

    def _fail(self, expected: str) -> NoReturn:
        found = "the end" if self._ended() else ascii(self._text[self._at : self._at + 16])
        raise ValueError(f"cannot be read at character {self._at + 1}: expected {expected}, found {found}")
