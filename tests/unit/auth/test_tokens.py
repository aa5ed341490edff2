"""Who a token makes of its bearer, and every way to be refused."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.auth.keys import Keys, public_keys, secret_key
from graph.auth.principal import ANONYMOUS, Forbidden, Principal, Scope, Unauthenticated
from graph.auth.tokens import BearerTokens, Rules, wait_until_expired
from tests.support.tokens import (
    OTHER_SECRET,
    SECRET,
    bearer,
    by_hand,
    checked_with,
    key_set,
    private_key,
    public_member,
    shared_secret,
    signed,
    token,
)


def refused(tokens: BearerTokens, authorization: object) -> str:
    with pytest.raises(Unauthenticated) as why:
        tokens.caller(authorization)
    return str(why.value)


def test_a_good_token_says_who_it_is_what_is_allowed_and_until_when() -> None:
    expires = int(time.time()) + 60
    principal = shared_secret(leeway=5.0).caller(bearer(Scope.OPERATE, sub="bob", exp=expires))
    assert principal == Principal("bob", frozenset({Scope.READ, Scope.OPERATE}), expires + 5.0)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
def test_the_scheme_is_written_as_one_likes(scheme: str) -> None:
    assert shared_secret().caller(scheme + token()).subject == "alice"


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, set()),
        ({"scope": ""}, set()),
        ({"scope": "openid profile"}, set()),
        ({"scope": "mesh.read openid"}, {Scope.READ}),
        ({"scope": "mesh.admin"}, {Scope.READ, Scope.ADMIN}),
        ({"scp": "mesh.operate mesh.approve"}, {Scope.READ, Scope.OPERATE, Scope.APPROVE}),
        ({"scopes": ["mesh.approve", 1, None]}, {Scope.READ, Scope.APPROVE}),
        ({"scope": "mesh.operate", "scp": ["mesh.admin"]}, {Scope.READ, Scope.OPERATE, Scope.ADMIN}),
        ({"scope": {"mesh.admin": True}}, set()),
        ({"scope": "mesh.administration MESH.ADMIN mesh.*"}, set()),
    ],
)
def test_scopes_are_words_in_a_string_or_in_a_list(claims: dict[str, Any], scopes: set[Scope]) -> None:
    assert shared_secret().caller(f"Bearer {signed(**claims)}").scopes == scopes


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_public_keys_check_what_private_ones_have_signed(algorithm: str) -> None:
    bearers = checked_with(public_keys(key_set(public_member(algorithm))))
    good = signed(private_key(algorithm), algorithm, header={"kid": "first"})
    assert bearers.caller(f"Bearer {good}").subject == "alice"


def test_a_single_key_need_not_be_named() -> None:
    bearers = checked_with(public_keys(key_set(public_member("ES256"))))
    assert bearers.caller(f"Bearer {signed(private_key('ES256'), 'ES256')}").subject == "alice"


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"exp": int(time.time()) - 1}, "the token has expired"),
        ({"exp": None}, "the token has no `exp`"),
        ({"exp": "tomorrow"}, "the token is malformed"),
        ({"exp": float("inf")}, "the token is malformed"),
        ({"nbf": int(time.time()) + 86_400}, "the token is not valid yet"),
        ({"iat": int(time.time()) + 86_400}, "the token is not valid yet"),
        ({"sub": None}, "the token has no `sub`"),
        ({"sub": " "}, "the token's subject (sub) cannot be the actor of a change"),
        ({"sub": "x" * 1_025}, "the token's subject (sub) cannot be the actor of a change"),
        ({"sub": "a\x00b"}, "the token's subject (sub) cannot be the actor of a change"),
        ({"iss": "https://evil.example"}, "the token is from another issuer"),
        ({"iss": None}, "the token has no `iss`"),
        ({"aud": "billing"}, "the token is for another audience"),
        ({"aud": None}, "the token has no `aud`"),
    ],
)
def test_what_is_wrong_with_a_token_is_said(claims: dict[str, Any], problem: str) -> None:
    bearers = shared_secret(issuer="https://id.example", audience="mesh")
    good = {"iss": "https://id.example", "aud": ["mesh", "other"]}
    assert bearers.caller(bearer(**good)).subject == "alice"
    assert refused(bearers, bearer(**good | claims)).startswith(problem)


def test_a_token_for_another_service_is_none_for_a_server_without_an_audience() -> None:
    assert refused(shared_secret(), bearer(aud="billing")) == "the token is for another audience (aud) than this server"


def test_clocks_may_be_apart_by_the_leeway() -> None:
    now = int(time.time())
    bearers = shared_secret(leeway=30.0)
    assert bearers.caller(bearer(exp=now - 5, nbf=now + 5, iat=now + 5)).expires_at == now + 25
    assert refused(bearers, bearer(exp=now - 31)) == "the token has expired"


def test_a_token_for_ever_is_one_for_a_long_time() -> None:
    assert shared_secret().caller(bearer(exp=10**400)).expires_at == 253_402_300_799


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("keys", [secret_key(SECRET), public_keys(key_set(public_member("RS256")))])
def test_a_token_without_a_signature_is_refused(algorithm: str, keys: Keys) -> None:
    assert refused(checked_with(keys), f"Bearer {by_hand({'alg': algorithm}, None)}") == (
        "the token is not signed with the algorithm of its key (alg)"
    )


@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
def test_a_public_key_signs_no_hs256_token(form: PublicFormat) -> None:
    public = private_key("RS256").public_key()
    forged = by_hand({"alg": "HS256", "kid": "first"}, public.public_bytes(Encoding.PEM, form))
    bearers = checked_with(public_keys(key_set(public_member("RS256"))))
    assert refused(bearers, f"Bearer {forged}") == "the token is not signed with the algorithm of its key (alg)"


def test_a_key_that_comes_with_the_token_is_not_looked_at() -> None:
    own = public_member("RS256", "own")
    header = {"kid": "first", "jwk": own, "jku": "https://evil.example/keys"}
    forged = signed(private_key("RS256", "own"), "RS256", header=header)
    bearers = checked_with(public_keys(key_set(public_member("RS256"))))
    assert refused(bearers, f"Bearer {forged}") == "the token's signature is wrong"


@pytest.mark.parametrize(
    ("forged", "problem"),
    [
        (signed(OTHER_SECRET), "the token's signature is wrong"),
        (by_hand({"alg": "HS256", "kid": 7}), "the token is malformed"),
        (by_hand({"alg": "HS256", "crit": ["exp"]}), "the token is malformed"),
        (by_hand({"alg": "HS256", "b64": False, "crit": ["b64"]}), "the token is malformed"),
        (f"{token(sub='eve').rpartition('.')[0]}.{token().rpartition('.')[2]}", "the token's signature is wrong"),
        (token()[:-2], "the token is malformed"),  # one letter less may still decode
        ("a.b.c", "the token is malformed"),
        ("a.b", "the token is malformed"),
        ("nonsense", "the token is malformed"),
    ],
)
def test_what_is_no_token_of_ours_is_refused(forged: str, problem: str) -> None:
    assert refused(shared_secret(), f"Bearer {forged}") == problem


@pytest.mark.parametrize(
    ("authorization", "problem"),
    [
        ("", "the authorization must be `Bearer` and a token"),
        ("Bearer", "the authorization must be `Bearer` and a token"),
        ("Basic YWxpY2U6eA==", "the authorization must be `Bearer` and a token"),
        (f"Bearer {token()} {token()}", "the authorization must be `Bearer` and a token"),
        (f"Bearer{token()}", "the authorization must be `Bearer` and a token"),
        (f"Bearer {token()}\ud800", "the authorization must be `Bearer` and a token"),
        ("Bearer " + "a" * 8_193, "the token is longer than 8,192 characters"),
        ({"token": token()}, "the authorization must be a string"),
        (7, "the authorization must be a string"),
    ],
)
def test_what_is_no_bearer_token_at_all_is_refused(authorization: object, problem: str) -> None:
    assert refused(shared_secret(), authorization).startswith(problem)


def test_who_shows_nothing_is_told_that_a_token_is_wanted() -> None:
    with pytest.raises(Unauthenticated, match="this server requires a token") as why:
        shared_secret().caller(None)
    assert not why.value.shown


def test_a_token_that_was_good_is_refused_once_it_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    bearers, now = shared_secret(), time.time()
    shown = bearer(exp=int(now) + 10)
    assert bearers.caller(shown) is bearers.caller(shown)
    monkeypatch.setattr(time, "time", lambda: now + 11)
    assert refused(bearers, shown) == "the token has expired"


def test_a_token_that_was_good_is_refused_once_its_key_is_gone() -> None:
    keys = [public_keys(key_set(public_member("ES256", "a"), public_member("ES256", "b")))]
    bearers = BearerTokens(lambda: keys[0], Rules())
    by = {name: f"Bearer {signed(private_key('ES256', name), 'ES256', header={'kid': name})}" for name in "abc"}
    assert bearers.caller(by["a"]).subject == bearers.caller(by["b"]).subject == "alice"
    assert "does not know" in refused(bearers, by["c"])
    keys[0] = public_keys(key_set(public_member("ES256", "b"), public_member("ES256", "c")))
    assert "does not know" in refused(bearers, by["a"])
    assert bearers.caller(by["b"]).subject == bearers.caller(by["c"]).subject == "alice"


def changed(text: str, place: int, other: str) -> str:
    place %= len(text)
    return text[:place] + other + text[place + 1 :]


@given(st.integers(min_value=0, max_value=10_000), st.sampled_from("ABCxyz019-_.=~ "))
@settings(max_examples=150)
def test_no_token_survives_a_change_of_a_character(place: int, other: str) -> None:
    good = token(Scope.READ, exp=2**40)
    forged = changed(good, place, other)
    if forged != good:
        refused(shared_secret(), f"Bearer {forged}")


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
@settings(max_examples=150)
def test_whatever_is_shown_is_refused_in_our_own_words(shown: str) -> None:
    for authorization in (shown, f"Bearer {shown}", f"Bearer {shown}.{shown}.{shown}"):
        why = refused(shared_secret(), authorization)
        assert why.startswith("the ")
        assert len(shown) < 12 or shown not in why


@pytest.mark.parametrize("scope", Scope)
def test_a_principal_has_the_scopes_it_has(scope: Scope) -> None:
    Principal("alice", frozenset({scope})).require(scope)
    with pytest.raises(Forbidden, match=f"^forcing needs a token with the scope {scope}$"):
        ANONYMOUS.require(scope, "forcing")


@pytest.mark.parametrize("when", [lambda: time.time() - 60, lambda: time.time() + 0.01])
async def test_expiry_is_waited_for(when: Callable[[], float]) -> None:
    moment = when()
    async with asyncio.timeout(10):
        await wait_until_expired(Principal("alice", frozenset(), moment))
    assert time.time() >= moment
