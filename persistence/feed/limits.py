"""How much the feed holds, and how long it waits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """`ring` and `page` count diffs; `bookmark_seconds` is how long an idle subscriber goes without a sign of life.

    `fresh_seconds` after the stream was last read to its end, what was made of it is not fresh any more: more than a
    poll takes, so that an idle stream stays fresh.

    A page is decoded in one go, a millisecond for every twenty rows, in which the process answers nobody.
    """

    ring: int = 16_384
    page: int = 100
    poll_seconds: float = 1.0
    bookmark_seconds: float = 10.0
    catch_up_seconds: float = 2.0
    read_seconds: float = 10.0
    fresh_seconds: float = 2.0

    def to_page_end(self, revision: int) -> int:
        """Diffs from there to where a page ends. Pages end at the same revisions for all, wherever they came from, so
        that those who are behind soon ask for the same."""
        return self.page - revision % self.page


DEFAULT_LIMITS = FeedLimits()
