"""The keys that tokens are signed with, from settings or from a file that is read again when it changes: so they are
rotated without a restart. Each key is good for one algorithm, whichever a token names: a public key that is used as a
secret is the oldest forgery there is. https://www.rfc-editor.org/rfc/rfc8725#section-3.1

PyJWT, and cryptography under it, is imported with the first key: a server without authentication needs neither.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from graph.auth.principal import Unauthenticated
from graph.settings import Settings, SettingsError
from persistence.secret_files import SecretExposed, read_secret

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

_Stamp: TypeAlias = tuple[int, int, int, int]

_log = logging.getLogger(__name__)


class KeysUnusable(Exception):
    """There is no usable key in that. The message is the reason, and holds nothing of the key."""


def secret_key(secret: bytes) -> Keys:
    """The one key for HS256. Raises KeysUnusable."""
    if len(secret) < LEAST_SECRET:
        raise KeysUnusable(f"must be at least {LEAST_SECRET} bytes long, not {len(secret)}")
    encoded = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return [_checked(_key({"kty": "oct", "k": encoded}, HS256))]


def public_keys(document: bytes) -> Keys:
    """The keys for signatures of a JSON Web Key Set, RFC 7517. Those for something else, or for algorithms that are not
    supported, are left out. Raises KeysUnusable."""
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


class KeyFile:
    """The keys of a file. One that has become unusable is logged, once, and the last good keys stay."""

    def __init__(self, path: Path, read: Callable[[bytes], Keys], *, is_secret: bool) -> None:
        """`read` makes keys of what the file holds. Raises OSError, KeysUnusable as it does, and SecretExposed for a
        file that `is_secret` and may be read by others."""
        self._path = path
        self._read = read
        self._content = read_secret if is_secret else Path.read_bytes
        self._stamp: _Stamp | None = self._stamped()
        self._keys = read(self._content(path))

    def __call__(self) -> Keys:
        """The same object until the file changes. Compares its time, size and identity, which takes 1 or 2 µs."""
        try:
            # Before the content: a change in between is found the next time.
            stamp = self._stamped()
        except OSError as error:
            self._lost(None, error.strerror)
            return self._keys
        if stamp != self._stamp:
            try:
                self._keys = self._read(self._content(self._path))
            except (OSError, KeysUnusable, SecretExposed) as error:
                self._lost(stamp, error)
            else:
                self._stamp = stamp
                _log.info("%s has changed: tokens are checked with what it holds now", self._path)
        return self._keys

    def _lost(self, stamp: _Stamp | None, why: object) -> None:
        if stamp != self._stamp:
            self._stamp = stamp
            _log.error("%s: %s. Tokens are checked with the keys it held before", self._path, why)

    def _stamped(self) -> _Stamp:
        # Through links, and by the file's identity: secrets of Kubernetes are links that are pointed elsewhere.
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode


def signing_key(settings: Settings) -> Keys:
    """The secret that tokens can be signed with here. Raises SettingsError if there is none."""
    if settings.auth_secret_file is not None:
        return secret_file(settings.auth_secret_file)()
    if settings.auth_secret is None:
        raise SettingsError("auth_secret, auth_secret_file: neither is set, so there is no secret to sign with")
    try:
        return secret_key(settings.auth_secret.get_secret_value().encode())
    except KeysUnusable as error:
        raise SettingsError(f"auth_secret: {error}") from error


def secret_file(path: Path) -> KeyFile:
    """The file of the setting `auth_secret_file`. Raises SettingsError."""
    return _key_file("auth_secret_file", path, _secret_in, is_secret=True)


def public_key_file(path: Path) -> KeyFile:
    """That of `auth_jwks_file`. Raises SettingsError."""
    return _key_file("auth_jwks_file", path, public_keys, is_secret=False)


def _key_file(setting: str, path: Path, read: Callable[[bytes], Keys], *, is_secret: bool) -> KeyFile:
    try:
        return KeyFile(path, read, is_secret=is_secret)
    except OSError as error:
        raise SettingsError(f"{setting}: {path}: {error.strerror}") from error
    except (KeysUnusable, SecretExposed) as error:
        raise SettingsError(f"{setting}: {path} {error}") from error


def _secret_in(content: bytes) -> Keys:
    """A text editor ends a file with a line break, which is not part of the secret."""
    return secret_key(content.rstrip(b"\r\n"))
