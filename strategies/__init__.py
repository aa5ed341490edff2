"""Deterministic placement: pure functions from shards and nodes to owners. No I/O, no clock, no randomness."""
