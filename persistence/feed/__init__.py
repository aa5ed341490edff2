"""The change feed: one tailer per process reads history into a bounded ring, every subscriber reads from that."""

from persistence.feed.limits import FeedLimits
from persistence.feed.live import LiveFeed, Watcher, live_feed
from persistence.feed.ring import Stretch

__all__ = ["FeedLimits", "LiveFeed", "Stretch", "Watcher", "live_feed"]
