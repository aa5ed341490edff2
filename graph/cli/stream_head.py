"""Where the change stream is."""

from graph.cli.api import Api


def newest_revision(api: Api) -> int:
    return int(api.ask("StreamHead")["head"]["revision"])
