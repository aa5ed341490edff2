"""The rules of approval: where a policy requires it, another actor than a plan's submitter approves the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from persistence.model.outcomes import BrokenRule
from persistence.model.plans import RebalancePlan
from persistence.model.policy import PolicyRule
from persistence.model.records import Namespace


def self_approval(plan: RebalancePlan, approver: str, namespaces: Mapping[str, Namespace]) -> Iterator[BrokenRule]:
    """The rules that `approver` would break by approving. The submitter is the actor that proposed the plan last."""
    submitter = plan.created.actor
    if approver == submitter:
        for name in _requiring(plan, namespaces):
            yield BrokenRule(
                PolicyRule.SELF_APPROVAL,
                name,
                None,
                f"approved by {approver}, who submitted it",
                f"approved by somebody else than {submitter}",
                f"Ask somebody else to approve plan {plan.id}.",
            )


def missing_approval(plan: RebalancePlan, namespaces: Mapping[str, Namespace]) -> Iterator[BrokenRule]:
    """The rules that applying the plan would break."""
    if plan.approved is not None:
        yield from self_approval(plan, plan.approved.actor, namespaces)
        return
    submitter = plan.created.actor
    for name in _requiring(plan, namespaces):
        yield BrokenRule(
            PolicyRule.APPROVAL_REQUIRED,
            name,
            None,
            "not approved",
            f"approved by somebody else than {submitter}, who submitted it",
            f"Have plan {plan.id} approved, then apply it.",
        )


def _requiring(plan: RebalancePlan, namespaces: Mapping[str, Namespace]) -> Iterator[str]:
    """Those of the plan's namespaces whose policy requires approval."""
    return (name for name in plan.namespaces if name in namespaces and namespaces[name].policy.approval_required)
