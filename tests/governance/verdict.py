"""What history shows once all operators have stopped."""

from __future__ import annotations

from persistence.audit.compliance import CheckFilter, OwnerRule
from persistence.postgres.audit.check import check
from persistence.postgres.audit.verify import verify
from strategies.registry import Registry
from tests.support.planned_mesh import PlannedMesh
from tests.support.recount import broken_promises
from tests.support.replay import contradictions


async def judge(url: str, mesh: PlannedMesh) -> list[str]:
    """A message for each promise that was broken; nothing if all were kept.

    Rules are recounted by an auditor of the tests' own, and then by the store's.
    """
    changes, history, table = await mesh.changes(), await mesh.history(), await mesh.table()
    verified = await verify(url, processes=1)
    checked = await check(url, Registry(), CheckFilter())
    return [
        *broken_promises(changes, history),
        *contradictions(changes, history, table),
        *(f"audit verify: {finding}" for finding in verified.findings.listed),
        *(
            f"audit check: {breach.rule} of {breach.subject} by change {breach.change_id}, {breach.actual}"
            for breach in checked.breaches
            if breach.rule not in (OwnerRule.PLACEMENT, OwnerRule.LEADER)
        ),
    ]
