"""Media types of GraphQL over HTTP, https://graphql.github.io/graphql-over-http/draft/: which one a client wants.

Weights and specificity are those of https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1. Several Accept headers count
as one, their values joined by commas.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

JSON: Final = "application/json"
GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
EVENT_STREAM: Final = "text/event-stream"
HTML: Final = "text/html"

_ITEM: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')
_PARAMETER: Final = re.compile(r'(?:[^;"]|"(?:\\.|[^"\\])*"?)+')


class Accept:
    """The Accept headers of one request. Without any, or with nothing in them, JSON is wanted."""

    def __init__(self, headers: Sequence[str]) -> None:
        self._weights = dict(_weights(headers)) or {JSON: 1.0}

    def names(self, media_type: str) -> bool:
        """Whether this very type is accepted by name; a wildcard does not say that a client can read it."""
        return self._weights.get(media_type, 0.0) > 0

    @property
    def response_type(self) -> str:
        """The media type to answer in: of GRAPHQL_RESPONSE and JSON the more welcome one, and the former where it is
        named and as welcome.

        JSON for a client that accepts neither: an answer it did not ask for tells it more than 406 would.
        """
        graphql_response, json = self._weight(GRAPHQL_RESPONSE), self._weight(JSON)
        wanted = graphql_response >= json and self.names(GRAPHQL_RESPONSE)
        return GRAPHQL_RESPONSE if wanted or graphql_response > json else JSON

    @property
    def prefers_event_stream(self) -> bool:
        """Whether one result should come as an event stream: it is named, and more welcome than JSON of either type.

        Clients that can read streams accept them beside JSON (urql: last, and of equal weight), and read the result of
        a mutation that comes as a stream as a failure of the network.
        """
        json = max(self._weight(GRAPHQL_RESPONSE), self._weight(JSON))
        return self.names(EVENT_STREAM) and self._weight(EVENT_STREAM) > json

    def _weight(self, media_type: str) -> float:
        """By the most specific range that the type is in; 0 if it is in none."""
        ranges = (media_type, media_type.partition("/")[0] + "/*", "*/*")
        return next((self._weights[each] for each in ranges if each in self._weights), 0.0)


def _weights(headers: Sequence[str]) -> Iterator[tuple[str, float]]:
    """By range, 0 to 1. Of a range that stands there twice, with other parameters, the greatest."""
    weights: dict[str, float] = {}
    for item in _ITEM.findall(",".join(headers)):
        media_range, *parameters = [part.strip() for part in _PARAMETER.findall(item)] or [""]
        if "/" in media_range:
            media_range = media_range.lower()
            weights[media_range] = max(weights.get(media_range, 0.0), _quality(_named(parameters)))
    yield from weights.items()


def _named(parameters: Sequence[str]) -> Mapping[str, str]:
    pairs = (parameter.partition("=") for parameter in parameters)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _quality(parameters: Mapping[str, str]) -> float:
    """What cannot be read counts as 1, as if it were not there."""
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        return 1.0
    return quality if 0 <= quality <= 1 else 1.0
