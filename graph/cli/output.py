"""Data for programs on stdout, words for people on stderr."""

import json

import click

from graph.client.document import Json

__all__ = ["Json", "print_json", "tell"]


def print_json(document: object) -> None:
    """A line of JSON Lines, or the one document there is. Flushed: whoever reads it may be waiting for it."""
    click.echo(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def tell(message: str) -> None:
    click.echo(message, err=True)
