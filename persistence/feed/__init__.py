"""The change feed: one tailer per process reads history into a bounded ring, every subscriber reads from that."""

from persistence.feed.live import LiveFeed, live_feed

__all__ = ["LiveFeed", "live_feed"]
