"""Pins: a decision that a shard stays where it is, by whom, why and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from persistence import fields as rules
from persistence.fields import Problems
from persistence.records import Pin


@dataclass(frozen=True, slots=True)
class PinRequest:
    """A pin to be. It is the actor's of the change that makes it; `until` null is for good."""

    reason: str
    until: datetime | None = None

    def add_problems(self, problems: Problems, path: str) -> None:
        problems.add(f"{path}pin.reason", rules.text_problem(self.reason))

    def by(self, actor: str) -> Pin:
        return Pin(actor, self.reason, self.until)


def holds(pin: Pin | None, now: datetime | None) -> bool:
    """Whether the shard must stay where it is. `now` may be null for a pin without an end."""
    return pin is not None and (pin.until is None or (now is not None and pin.until > now))


def ends(pin: Pin | PinRequest | None) -> bool:
    """Whether it depends on the time if the pin holds."""
    return pin is not None and pin.until is not None
