"""What operators and the administrator do."""

from __future__ import annotations

from enum import StrEnum


class Deed(StrEnum):
    MOVE = "move"
    EDIT = "edit"
    CREATE = "create"
    DELETE = "delete"
    PIN = "pin"
    UNPIN = "unpin"
    REGROUP = "regroup"
    PLAN = "plan"
    APPROVE = "approve"
    REJECT = "reject"
    APPLY = "apply"
    STOP = "stop"
    ROLL_BACK = "roll back"
    CHANGE_NODE = "change a node"
    FREEZE = "freeze"
    LIFT = "lift freezes"
    REGULATE = "change a policy"
