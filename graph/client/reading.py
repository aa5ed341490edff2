"""What a client reads by asking: the table, page by page, and what the server says of each namespace."""

from collections.abc import Iterator

from graph.client.live_table import LiveTable
from graph.client.pages import Asked, pages, rows
from graph.client.records import Claim, read_claim, read_shard
from graph.client.selection import Selection


def read_table(server: Asked, selection: Selection) -> Iterator[LiveTable]:
    """The table as far as it has been read, after each page. Raises ClientError."""
    table: LiveTable | None = None
    for namespace in selection.lists:
        for page in pages(server, "ListShards", {"filter": {"namespace": namespace}}):
            revision = int(page["revision"])
            if table is None:
                table = LiveTable(page["cursor"], revision, selection)
            table.begin_by(page["cursor"], revision)
            table.put(map(read_shard, page["nodes"]), revision)
            yield table


def read_claims(server: Asked, selection: Selection) -> list[Claim]:
    """Raises ClientError."""
    claims = map(read_claim, rows(server, "ListNamespaces", {}))
    return [claim for claim in claims if claim.namespace in selection]
