"""Tokens as an issuer signs them, good and forged, and the keys they are signed with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from jwt.algorithms import get_default_algorithms

from graph.auth.keys import Keys, secret_key
from graph.auth.principal import Scope
from graph.auth.tokens import BearerTokens, Rules

SECRET: Final = b"a secret of the tests, shared by them all"
OTHER_SECRET: Final = b"a secret of somebody else, shared by none"
EVERYTHING: Final = tuple(Scope)


def signed(
    key: Any = SECRET, algorithm: str = "HS256", *, header: Mapping[str, Any] | None = None, **claims: Any
) -> str:
    """A token with these claims, good for an hour unless they have an `exp`. Null leaves a claim out."""
    given = {"sub": "alice", "exp": int(time.time()) + 3_600, **claims}
    present = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(present, key, algorithm, headers=dict(header or {}))


def by_hand(header: Mapping[str, Any], secret: bytes | None = SECRET, **claims: Any) -> str:
    """With whatever header, which libraries refuse to write. Without a secret, unsigned."""
    text = f"{_segment(header)}.{_segment({'sub': 'eve', 'exp': 2**40, **claims})}"
    mac = b"" if secret is None else hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _segment(content: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def token(*scopes: Scope, **claims: Any) -> str:
    """Signed with the secret of the tests."""
    return signed(scope=" ".join(scopes), **claims)


def bearer(*scopes: Scope, **claims: Any) -> str:
    return f"Bearer {token(*scopes, **claims)}"


def soon() -> int:
    """Two to three seconds from now, as the whole seconds that `exp` counts. To be called when the server is there: a
    token must be good until its first answer, however busy the machine is."""
    return int(time.time()) + 3


def shared_secret(**rules: Any) -> BearerTokens:
    """What a server does that shares the secret of the tests."""
    keys = secret_key(SECRET)
    return checked_with(keys, **rules)


def checked_with(keys: Keys, **rules: Any) -> BearerTokens:
    return BearerTokens(lambda: keys, Rules(**rules))


def private_key(algorithm: str, name: str = "first") -> PrivateKeyTypes:
    """Always the same one of that name."""
    return _private_key(algorithm, name)


@cache
def _private_key(algorithm: str, name: str) -> PrivateKeyTypes:
    del name
    if algorithm == "RS256":
        return rsa.generate_private_key(65_537, 2_048)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def public_member(algorithm: str, name: str | None = "first", **members: Any) -> dict[str, Any]:
    """The member of a JSON Web Key Set that belongs to the private key; its `kid` is the name."""
    public = private_key(algorithm, name or "first").public_key()
    member: dict[str, Any] = get_default_algorithms()[algorithm].to_jwk(public, as_dict=True)
    member.pop("key_ops", None)
    return {**member, **({} if name is None else {"kid": name}), **members}


def key_set(*members: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": members}).encode()
