"""Creating and configuring a namespace."""

from collections.abc import Mapping
from typing import Any

from graph.cli.api import Api
from graph.cli.output import Json
from graph.cli.refusals import committed


def configure(
    api: Api,
    name: str,
    strategy: str,
    parameters: Mapping[str, Any],
    expected_version: str,
    change: Json,
    policy: Json | None = None,
) -> Json:
    """The namespace afterwards. `expected_version` is "0" for a new one; without a policy it keeps the one it has.

    Raises Failure if it is refused.
    """
    given: Json = {
        "name": name,
        "strategy": strategy,
        "strategyParameters": dict(parameters),
        "expectedVersion": expected_version,
        "change": change,
    }
    if policy is not None:
        given["policy"] = policy
    return dict(committed(api.change("ConfigureNamespace", given))["namespace"])
