"""The input that pins a shard."""

from datetime import datetime

import strawberry

from persistence.pins import PinRequest


@strawberry.input(description="A pin to be made, by the actor of the change: the shard stays where it is.")
class PinInput:
    reason: str = strawberry.field(description="Why. Not blank, at most 1,024 characters.")
    until: datetime | None = strawberry.field(
        default=None, description="When the pin ends, in the future; null for no end."
    )

    def request(self) -> PinRequest:
        return PinRequest(self.reason, self.until)
