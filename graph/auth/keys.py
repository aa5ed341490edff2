"""The keys that tokens are signed with. Each is good for one algorithm, whatever a token says of itself: a public key
that is taken for a secret is the oldest forgery there is. https://www.rfc-editor.org/rfc/rfc8725#section-3.1

PyJWT, and cryptography under it, is imported with the first key: a server without authentication needs neither.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from graph.auth.principal import Unauthenticated

if TYPE_CHECKING:
    from jwt import PyJWK

Keys: TypeAlias = "Sequence[PyJWK]"

HS256: Final = "HS256"
LEAST_SECRET: Final = 32
"""Bytes: as long as what HS256 makes of it. https://www.rfc-editor.org/rfc/rfc7518#section-3.2"""

_PUBLIC_ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
_PRIVATE_MEMBERS: Final = ("d", "k")


class KeysUnusable(Exception):
    """There is no key to be had from that. Says why in a few words, and shows nothing of it."""


def secret_key(secret: bytes) -> Keys:
    """The one key for HS256. Raises KeysUnusable."""
    if len(secret) < LEAST_SECRET:
        raise KeysUnusable(f"must be at least {LEAST_SECRET} bytes long, not {len(secret)}")
    encoded = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return [_checked(_key({"kty": "oct", "k": encoded}, HS256))]


def public_keys(document: bytes) -> Keys:
    """The keys for signatures of a JSON Web Key Set, RFC 7517. Those for something else, or for algorithms that are not
    known here, are left out. Raises KeysUnusable."""
    try:
        listed = json.loads(document)["keys"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise KeysUnusable('is not a JSON Web Key Set: {"keys": [...]}') from None
    if not isinstance(listed, list) or not all(isinstance(member, dict) for member in listed):
        raise KeysUnusable("is not a JSON Web Key Set: `keys` must be a list of objects")
    if any(member.get(name) for member in listed for name in _PRIVATE_MEMBERS):
        raise KeysUnusable("holds a private or secret key; only public ones belong here")
    keys = [key for member in listed if (key := _public_key(member)) is not None]
    if not keys:
        raise KeysUnusable("holds no public key for signatures (RSA, EC or Ed25519)")
    if len(keys) > 1 and any(key.key_id is None for key in keys):
        raise KeysUnusable("holds several keys: each needs a `kid`, or tokens cannot say which is theirs")
    return keys


def key_of(keys: Keys, header: Mapping[str, Any]) -> PyJWK:
    """The key that a token with this header is signed with, if it is signed at all. Raises Unauthenticated."""
    name = header.get("kid")
    if len(keys) > 1 and name is None:
        raise Unauthenticated("the token does not say which key it is signed with (kid), and there are several")
    known = [key for key in keys if name is None or key.key_id is None or key.key_id == name]
    if not known:
        # Keys are rotated: this server may not have read the new file yet, or the old key has been taken out of it.
        raise Unauthenticated("the token is signed with a key that this server does not know (kid)", may_pass=True)
    fitting = [key for key in known if key.algorithm_name == header.get("alg")]
    if not fitting:
        raise Unauthenticated("the token is not signed with the algorithm of its key (alg)")
    return fitting[0]


def _public_key(member: Mapping[str, Any]) -> PyJWK | None:
    from jwt import PyJWTError  # noqa: PLC0415 - see the module's docstring

    if member.get("use", "sig") != "sig" or member.get("alg") not in (None, *_PUBLIC_ALGORITHMS):
        return None
    try:
        key = _key(member)
    except PyJWTError:
        return None
    return _checked(key) if key.algorithm_name in _PUBLIC_ALGORITHMS else None


def _key(member: Mapping[str, Any], algorithm: str | None = None) -> PyJWK:
    from jwt import PyJWK  # noqa: PLC0415 - see the module's docstring

    return PyJWK(dict(member), algorithm)


def _checked(key: PyJWK) -> PyJWK:
    """Raises KeysUnusable for a key that is too short, or no key at all but something that looks like another kind."""
    from jwt import PyJWTError  # noqa: PLC0415 - see the module's docstring

    try:
        problem = key.Algorithm.check_key_length(key.Algorithm.prepare_key(key.key))
    except PyJWTError as error:
        raise KeysUnusable(f"cannot be used for {key.algorithm_name}: {error}") from error
    if problem:
        raise KeysUnusable(f"holds a key that is too short for {key.algorithm_name}")
    return key
