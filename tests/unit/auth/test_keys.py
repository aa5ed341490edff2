"""Which keys are taken, for which algorithm, and what becomes of a file of them that changes."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from graph.auth.keys import KeyFile, KeysUnusable, key_of, public_keys, secret_key
from graph.auth.principal import Unauthenticated
from graph.auth.tokens import NoAuthentication, authentication
from graph.settings import SettingsError, load_settings
from tests.support.secret_file import write_secret
from tests.support.tokens import SECRET, bearer, key_set, private_key, public_member


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_key_is_for_the_algorithm_of_its_kind(algorithm: str) -> None:
    member = public_member(algorithm)
    member.pop("alg", None)
    (key,) = public_keys(key_set(member))
    assert (key.algorithm_name, key.key_id) == (algorithm, "first")


def test_a_key_is_for_the_algorithm_it_names() -> None:
    (key,) = public_keys(key_set(public_member("RS256", alg="PS512")))
    assert key.algorithm_name == "PS512"


def test_keys_for_something_else_are_left_out() -> None:
    members = [
        public_member("RS256", "encrypts", use="enc"),
        public_member("RS256", "wraps", alg="RSA-OAEP"),
        public_member("ES256", "signs", use="sig"),
        {"kty": "unheard of", "kid": "unheard of"},
        public_member("RS256", "listed", alg=["RS256"]),
        {"kty": "EC", "crv": "P-256", "x": "broken", "y": "broken", "kid": "broken"},
    ]
    assert [key.key_id for key in public_keys(key_set(*members))] == ["signs"]


_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=3), max_size=2)
_NAMES = ("kty", "alg", "use", "kid", "crv", "x", "y", "n", "e")


@given(
    st.sampled_from(["RS256", "ES256", "EdDSA"]),
    st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=3),
    st.sets(st.sampled_from(_NAMES), max_size=2),
)
@settings(max_examples=150)
def test_a_broken_key_is_left_out_or_refused_and_nothing_worse(
    algorithm: str, changed: dict[str, Any], left_out: set[str]
) -> None:
    member = {name: value for name, value in public_member(algorithm, **changed).items() if name not in left_out}
    with suppress(KeysUnusable):
        (key,) = public_keys(key_set(member))
        assert key.algorithm_name[:2] == algorithm[:2] or (algorithm, key.algorithm_name[:2]) == ("RS256", "PS")


def small_key() -> dict[str, Any]:
    key = rsa.generate_private_key(65_537, 1_024)  # noqa: S505 - what must be refused
    return dict(RSAAlgorithm.to_jwk(key.public_key(), as_dict=True))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"", "is not a JSON Web Key Set"),
        (b"\xff", "is not a JSON Web Key Set"),
        (b"[" * 100_000, "is not a JSON Web Key Set"),
        (b"[]", "is not a JSON Web Key Set"),
        (b'{"keys": {}}', "`keys` must be a list of objects"),
        (b'{"keys": ["x"]}', "`keys` must be a list of objects"),
        (key_set(), "holds no public key for signatures"),
        (key_set({"kty": "oct", "k": "c2VjcmV0"}), "holds a private or secret key"),
        (key_set({"kty": "RSA", "n": "x", "e": "y", "d": "z"}), "holds a private or secret key"),
        (key_set(small_key()), "holds a key that is too short for RS256"),
        (key_set(public_member("ES256", None), public_member("ES256", "b")), "each needs a `kid`"),
    ],
)
def test_a_set_that_cannot_be_used_says_why(document: bytes, problem: str) -> None:
    with pytest.raises(KeysUnusable, match=problem):
        public_keys(document)


@pytest.mark.parametrize("secret", [b"", b"x" * 31])
def test_a_secret_is_at_least_as_long_as_what_hs256_makes_of_it(secret: bytes) -> None:
    with pytest.raises(KeysUnusable, match="must be at least 32 bytes long"):
        secret_key(secret)


def test_a_public_key_is_no_secret() -> None:
    public = private_key("RS256").public_key()
    with pytest.raises(KeysUnusable, match="cannot be used for HS256"):
        secret_key(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def test_of_several_keys_the_one_is_taken_that_the_token_names() -> None:
    keys = public_keys(key_set(public_member("ES256", "a"), public_member("ES256", "b")))
    assert key_of(keys, {"alg": "ES256", "kid": "b"}).key_id == "b"


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"alg": "ES256"}, "does not say which key"),
        ({"alg": "ES256", "kid": "c"}, "a key that this server does not know"),
        ({"alg": "EdDSA", "kid": "a"}, "not signed with the algorithm of its key"),
        ({"alg": "none", "kid": "a"}, "not signed with the algorithm of its key"),
        ({"alg": ["ES256"], "kid": "a"}, "not signed with the algorithm of its key"),
        ({"kid": "a"}, "not signed with the algorithm of its key"),
    ],
)
def test_a_token_that_fits_no_key_is_refused(header: dict[str, Any], problem: str) -> None:
    keys = public_keys(key_set(public_member("ES256", "a"), public_member("ES256", "b")))
    with pytest.raises(Unauthenticated, match=problem):
        key_of(keys, header)


def test_a_file_that_changes_is_read_again_and_only_then(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(public_member("ES256", "old")))
    keys = KeyFile(file, public_keys, is_secret=False)
    before = keys()
    assert keys() is before
    replaced(file, key_set(public_member("ES256", "new")))
    assert [key.key_id for key in keys()] == ["new"]


def test_a_file_that_breaks_keeps_its_last_good_keys_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(public_member("ES256", "old")))
    keys = KeyFile(file, public_keys, is_secret=False)
    with caplog.at_level(logging.ERROR):
        replaced(file, b"half of a fi")
        assert [keys()[0].key_id, keys()[0].key_id] == ["old", "old"]
        file.unlink()
        assert [keys()[0].key_id, keys()[0].key_id] == ["old", "old"]
    assert [line.getMessage() for line in caplog.records] == [
        f'{file}: is not a JSON Web Key Set: {{"keys": [...]}}. Tokens are checked with the keys it held before',
        f"{file}: No such file or directory. Tokens are checked with the keys it held before",
    ]
    file.write_bytes(key_set(public_member("ES256", "new")))
    assert keys()[0].key_id == "new"


def replaced(file: Path, content: bytes) -> None:
    """As rotation should do it, in one step; the identity of the file changes, whatever the clock shows."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.replace(file)


def test_without_settings_there_is_no_authentication() -> None:
    assert isinstance(authentication(load_settings(None, {})), NoAuthentication)


def test_keys_that_cannot_be_had_are_refused_by_the_name_of_their_setting(tmp_path: Path) -> None:
    short = tmp_path / "short"
    write_secret(short, "too short\n")
    for setting, problem in (
        ({"auth_secret": "too short"}, "auth_secret: must be at least 32 bytes long, not 9"),
        ({"auth_secret_file": short}, f"auth_secret_file: {short} must be at least 32 bytes long, not 9"),
        ({"auth_secret_file": tmp_path / "none"}, f"auth_secret_file: {tmp_path}/none: No such file or directory"),
        ({"auth_jwks_file": short}, f'auth_jwks_file: {short} is not a JSON Web Key Set: {{"keys": [...]}}'),
    ):
        with pytest.raises(SettingsError) as refused:
            authentication(load_settings(None, {}, **setting))
        assert str(refused.value) == problem


def test_the_line_break_that_ends_a_file_is_no_part_of_the_secret(tmp_path: Path) -> None:

    file = tmp_path / "secret"
    write_secret(file, SECRET + b"\n")
    assert authentication(load_settings(None, {}, auth_secret_file=file)).caller(bearer()).subject == "alice"
