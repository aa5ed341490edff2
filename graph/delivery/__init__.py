"""Subscriptions, delivered: each batch is executed once for all who ask the same, and sent to each at its own pace.

`operations.py` reads a subscription and says what it has in common with others, `cohorts.py` follows the feed once for
those who keep up, `subscribers.py` takes one subscriber along and serves it alone while it is behind.
"""
