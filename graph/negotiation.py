"""Media types of GraphQL over HTTP, https://graphql.github.io/graphql-over-http/draft/: which one a client wants."""

from typing import Final

JSON: Final = "application/json"
GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
EVENT_STREAM: Final = "text/event-stream"
HTML: Final = "text/html"


def response_type(accept: str | None) -> str:
    """The media type to answer in.

    `application/json` without a preference, for `*/*`, and for a client that accepts neither type: an answer it did not
    ask for tells it more than 406 would.
    """
    wanted = _preferences(accept or JSON)
    graphql_response, json = wanted.get(GRAPHQL_RESPONSE, 0.0), _quality_of_json(wanted)
    return GRAPHQL_RESPONSE if graphql_response > 0 and graphql_response >= json else JSON


def accepts(accept: str | None, media_type: str) -> bool:
    """Whether the header names this very type; a wildcard does not."""
    return _preferences(accept or "").get(media_type, 0.0) > 0


def _quality_of_json(wanted: dict[str, float]) -> float:
    return max(wanted.get(JSON, 0.0), wanted.get("application/*", 0.0) / 2, wanted.get("*/*", 0.0) / 2)


def _preferences(accept: str) -> dict[str, float]:
    """Quality by media type. What cannot be read counts as 1, as if it were not there."""
    preferences: dict[str, float] = {}
    for part in accept.split(","):
        media_type, *parameters = part.split(";")
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                quality = _quality(value)
        preferences.setdefault(media_type.strip().lower(), quality)
    return preferences


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 1.0
    return quality if 0 <= quality <= 1 else 1.0
