"""What reads a file, a token or a cursor without a server: each is given inputs that are nearly right, and refuses them
with an error of its own, or takes them."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, Final

import jwt

from graph.auth.keys import KeysUnusable, public_keys
from graph.auth.principal import Scope, Unauthenticated
from graph.cli.errors import Failure
from graph.cli.formats.problems import Problems
from graph.cli.formats.registry import FOREIGN
from graph.cli.importing.parse import read_file
from graph.cli.namespaces import _declarations as read_declarations
from graph.cli.plans import named_plan
from graph.client.address import read_address
from graph.operations import MANIFEST_FORMAT, ManifestError, operation, operation_names, read_manifest, sha256_hex
from graph.settings import SettingsError, load_settings
from persistence.audit.checkpoints import Checkpoint
from persistence.audit.export_verification import NotAnExport, verify_lines
from persistence.codec import cursors
from persistence.errors import BadCursor
from tests.fuzz import mutation
from tests.support.cursors import CURSORS
from tests.support.tokens import SECRET, key_set, public_member, shared_secret, signed

SEEDS: Final = Path(__file__).parent / "seeds"
TABLES: Final = Path(__file__).parents[1] / "golden" / "tables"
KEY: Final = b"a key of sixteen bytes"

CSV: Final = b"""\xef\xbb\xbfnamespace,shardId,ownerNodeId,leaderId,capacityHint,localityHint,status,antiAffinityGroup
billing,1,node-a,node-b,1.5,eu/eu-1,ACTIVE,g1
billing,2,node-a,,,zone:a,,
"billing","3","node-b",,1e3,region:x,PAUSED,
"""
JSON_LINES: Final = b"""\
{"namespace": "billing", "shardId": "1", "ownerNodeId": "node-a", "leaderId": null, "capacityHint": 1.5}
{"namespace": "billing", "shardId": "2", "ownerNodeId": "node-a", "localityHint": "eu/eu-1", "status": "ACTIVE"}
{"namespace": "billing", "shardId": "3", "ownerNodeId": "node-b", "antiAffinityGroup": "g1"}
"""
SETTINGS: Final = b"""\
host = "127.0.0.1"
port = 8080
allowed_hosts = ["mesh.example.com", "*.internal"]
database_url = "postgresql://mesh@db/mesh?sslmode=require"
drain_seconds = 2.5
log_level = "debug"
auth_issuer = "https://issuer"
"""
DECLARATIONS: Final = b"""\
[namespaces.orders]
strategy = "ring"
parameters = {virtualNodes = 160, nested = {a = [1, 2.5, "x"]}}
[namespaces.orders.policy]
ticketPattern = "CHG-[0-9]+"
moveBudgetPercent = 12.5
[[namespaces.orders.policy.freezes]]
begins = 2026-12-24T00:00:00Z
ends = 2026-12-27T00:00:00+01:00
reason = "holidays"
[namespaces."billing.eu"]
strategy = "locality"
"""


@dataclass(frozen=True)
class Target:
    """`read` returns, or raises one of `refusals`; anything else is a fault."""

    name: str
    seeds: Sequence[bytes]
    mutate: mutation.Mutate
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...] = ()

    def one(self, random: Random) -> None:
        """Read an input that is nearly right."""
        self.take(mutation.nearly(random, self.seeds, self.mutate))

    def take(self, data: bytes) -> None:
        try:
            self.read(data)
        except self.refusals as error:
            str(error).encode("utf-8", "backslashreplace")
        except Exception as error:
            error.add_note(f"{self.name} was given {data[:2_000]!r} ({len(data)} bytes)")
            raise


_SERVER: Final = read_address("http://127.0.0.1:8080")


def targets(folder: Path) -> Sequence[Target]:
    """`folder` is for files, to which some of these have to be given a path."""
    text = mutation.one_of(mutation.with_other_tokens, mutation.damaged)
    lines = mutation.one_of(mutation.with_other_lines, mutation.with_other_tokens, mutation.damaged)
    document = mutation.one_of(mutation.as_other_json, mutation.as_other_json, mutation.damaged)
    written = partial(_written, folder / "given.toml")
    plan = (SEEDS / "plan.json").read_bytes()
    return (
        Target(
            "import of CSV", [CSV, CSV.replace(b"namespace,", b"").replace(b"billing,", b"")], lines, _import("csv")
        ),
        Target("import of JSON Lines", [JSON_LINES], lines, _import("jsonl")),
        *(Target(f"import of {form}", _tables(form), lines, _import(form)) for form in FOREIGN),
        Target("settings", [SETTINGS + DECLARATIONS, SETTINGS], text, partial(written, _load), (SettingsError,)),
        Target("declared namespaces", [DECLARATIONS], text, partial(written, read_declarations), (Failure,)),
        Target("export of the audit log", _exports(), lines, _verify, (NotAnExport,)),
        Target("checkpoint", [_checkpoint()], document, _checkpoint_of, (ValueError,)),
        Target(
            "plan in a file",
            [plan],
            document,
            partial(written, lambda path: named_plan(str(path), _SERVER)),
            (Failure,),
        ),
        Target("manifest of documents", [_manifest()], document, partial(written, read_manifest), (ManifestError,)),
        Target("JSON Web Key Set", _key_sets(), document, public_keys, (KeysUnusable,)),
        Target("bearer token", _tokens(), _other_token, _Tokens(), (Unauthenticated,)),
        *(
            Target(
                f"cursor of {kind.source}",
                [each.encode() for each in CURSORS],
                _other_cursor,
                _read(kind),
                (BadCursor,),
            )
            for kind in cursors._KINDS.values()  # noqa: SLF001 - every one there is
        ),
    )


def _written(path: Path, read: Callable[[Path], object], data: bytes) -> object:
    path.write_bytes(data)
    return read(path)


def _tables(form: str) -> Sequence[bytes]:
    return [path.read_bytes() for path in sorted(TABLES.glob(f"{form}*"))]


def _import(form: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> None:
        for namespace in (None, "billing"):
            problems = Problems()
            content = read_file(io.BytesIO(data), form, namespace, problems)
            assert "\n" not in "".join(problems.lines)
            # What is taken is what an API takes: nothing in it is left to be refused by a defect further on.
            json.dumps([row.fields for row in content.rows], allow_nan=False)

    return read


def _load(path: Path) -> object:
    return load_settings(path, {})


def _verify(data: bytes) -> None:
    """Of what stands before the manifest, which holds the digest of it, nothing can be changed without a finding."""
    verdict = verify_lines(io.BytesIO(data), KEY)
    before = data.rstrip().rpartition(b"\n")[0]
    assert verdict.findings.count or before in [export.rstrip().rpartition(b"\n")[0] for export in _exports()]


@cache
def _exports() -> Sequence[bytes]:
    return [(SEEDS / name).read_bytes() for name in ("whole.jsonl", "filtered.jsonl")]


def _checkpoint() -> bytes:
    return json.dumps(Checkpoint().document()).encode()


def _checkpoint_of(data: bytes) -> Checkpoint:
    return Checkpoint.read_document(data.decode())


def _manifest() -> bytes:
    operations = [
        {"id": sha256_hex(operation(name)), "name": name, "type": "query", "body": operation(name)}
        for name in sorted(operation_names())[:3]
    ]
    operations[0]["id"] = f"sha256:{operations[0]['id']}"
    return json.dumps({"format": MANIFEST_FORMAT, "version": 1, "operations": operations}).encode()


def _key_sets() -> Sequence[bytes]:
    members = [public_member(algorithm, algorithm) for algorithm in ("RS256", "ES256", "EdDSA")]
    return [key_set(*members), key_set(members[1])]


def _tokens() -> Sequence[bytes]:
    """The claims, which are signed once they have been changed, and tokens that are changed as they are."""
    now = int(time.time())
    claims = {
        "sub": "alice",
        "exp": now + 86_400,
        "iat": now,
        "nbf": now,
        "scope": "read write",
        "jti": "1",
        "iss": "i",
    }
    return [json.dumps(claims).encode(), signed(scope=" ".join(Scope)).encode()]


def _other_token(random: Random, data: bytes) -> bytes:
    if data.startswith(b"{"):
        header = {"alg": "HS256", "typ": "JWT"}
        if random.randrange(4) == 0:
            header = mutation.other_value(random, header)
        return _signed(header, mutation.as_other_json(random, data))
    return mutation.one_of(mutation.damaged, mutation.with_other_tokens)(random, data)


def _signed(header: Any, claims: bytes) -> bytes:
    text = b".".join(jwt.utils.base64url_encode(part) for part in (json.dumps(header).encode(), claims))
    algorithm = jwt.get_algorithm_by_name("HS256")
    return text + b"." + jwt.utils.base64url_encode(algorithm.sign(text, SECRET))


class _Tokens:
    """One server's, so that what it remembers of the ones before is there."""

    def __init__(self) -> None:
        self._tokens = shared_secret()

    def __call__(self, data: bytes) -> None:
        for authorization in (f"Bearer {data.decode('latin-1')}", data.decode("latin-1")):
            principal = self._tokens.caller(authorization)
            assert principal.expires_at is not None
            assert principal.subject


def _read(kind: cursors.CursorKind[Any]) -> Callable[[bytes], object]:
    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogatepass")
        assert kind.write(kind.read(text, "after")) == text

    return read


def _other_cursor(random: Random, data: bytes) -> bytes:
    if random.randrange(3):
        return mutation.random_cursor(random).encode("utf-8", "surrogatepass")
    return mutation.damaged(random, data).decode("latin-1").encode()
