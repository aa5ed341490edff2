"""Checkpoints: the ends of the chains, by hash. Stored elsewhere, they reveal chains that were replaced or cut off.

A verdict carries the one to store. In texts and documents for users a checkpoint is an anchor.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, Self

from persistence.audit.chain import BEGINNING, ChainPosition
from persistence.audit.entries import Findings
from persistence.codec import hash_chain

FORMAT: Final = "omnirelay.audit.anchor.v1"

_TEXT: Final = re.compile(r"(\d{1,19}):(\d{1,19}):([0-9a-f]{64})/(\d{1,19}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The newest change and the newest refusal at a time, with the hashes that cover everything before them."""

    change: ChainPosition = BEGINNING
    refusal_id: int = 0
    refusal_hash: bytes = hash_chain.GENESIS

    def __str__(self) -> str:
        """`change id:revision:hash/refusal id:hash`."""
        change = self.change
        position = f"{change.change_id}:{change.revision}:{change.hash.hex()}"
        return f"{position}/{self.refusal_id}:{self.refusal_hash.hex()}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError with a message."""
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise ValueError("is not an anchor: write it as `mesh audit verify` printed it")
        change_id, revision, link, refusal_id, refusal_link = found.groups()
        position = ChainPosition(int(change_id), int(revision), bytes.fromhex(link))
        return cls(position, int(refusal_id), bytes.fromhex(refusal_link))

    def document(self) -> dict[str, str]:
        """As JSON; counters are strings of digits, as everywhere in the API."""
        return {
            "format": FORMAT,
            "changeId": str(self.change.change_id),
            "revision": str(self.change.revision),
            "hash": self.change.hash.hex(),
            "refusalId": str(self.refusal_id),
            "refusalHash": self.refusal_hash.hex(),
        }

    @classmethod
    def read_document(cls, text: str) -> Self:
        """What `document` wrote. Raises ValueError with a message."""
        try:
            document: Any = json.loads(text)
            problem = None if document["format"] == FORMAT else f"its format is not {FORMAT}"
            change, refusal = (document[name] for name in ("changeId", "refusalId"))
            position = f"{change}:{document['revision']}:{document['hash']}"
            checkpoint = cls.read(f"{position}/{refusal}:{document['refusalHash']}")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError("is not a checkpoint that `mesh audit verify` wrote") from error
        if problem is not None:
            raise ValueError(problem)
        return checkpoint


@dataclass
class Verdict:
    """What the verification of a database or an export found: it is intact if there are no findings. `end` is where
    its chains end, to be stored elsewhere."""

    end: Checkpoint
    findings: Findings = field(default_factory=Findings)
    changes: int = 0
    rows: int = 0
    refusals: int = 0
