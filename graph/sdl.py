"""The schema as a document, for people and for code generators: frontend-queries/schema.graphql."""

from graph.schema import build_schema


def export_schema() -> str:
    """The schema in SDL, ending in one newline. The same text on every run."""
    return build_schema().as_str().rstrip() + "\n"
