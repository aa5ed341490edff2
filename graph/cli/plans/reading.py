"""A plan as the server keeps it."""

from graph.cli.api import Api
from graph.cli.output import Json
from graph.cli.plans.document import NamedPlan, no_such_plan


def read_plan(api: Api, plan: NamedPlan) -> Json:
    """With its proposal. Raises Failure if there is none."""
    found = api.ask("RebalancePlan", {"id": plan.id})["rebalancePlan"]
    if found is None:
        raise no_such_plan(plan)
    return dict(found)
