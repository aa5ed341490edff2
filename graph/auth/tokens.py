"""JSON Web Tokens as bearer tokens: RFC 7519 and RFC 6750, with the scopes of RFC 8693 or as lists; and their expiry,
for connections that outlive them."""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from graph.auth.keys import Keys, key_of, public_key_file, secret_file, signing_key
from graph.auth.principal import UNRESTRICTED, Principal, Scope, Unauthenticated
from graph.settings import Settings
from persistence.model.fields import text_problem

LONGEST_TOKEN: Final = 8_192
"""Characters. A longer one is refused unread."""

_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE | re.ASCII)

_SCOPE_CLAIMS: Final = ("scope", "scp", "scopes")

_END_OF_TIME: Final = 253_402_300_799
"""The last second of the year 9999. A token that is good for longer is good until then."""

_REMEMBERED: Final = 1_024

# PyJWT's exceptions, by name; the messages are not PyJWT's, which may quote the token.
_PASSING: Final = ("ExpiredSignatureError", "ImmatureSignatureError")

EXPIRED: Final = "the token has expired"

_MESSAGES: Final = {
    "ExpiredSignatureError": EXPIRED,
    "ImmatureSignatureError": "the token is not valid yet; are the clocks right?",
    "InvalidSignatureError": "the token's signature is wrong",
    "InvalidIssuerError": "the token is from another issuer (iss) than this server trusts",
    "InvalidAudienceError": "the token is for another audience (aud) than this server",
}

SLICE_SECONDS: Final = 10.0
"""The longest sleep between two readings of the clock, and so the longest that a jump of it is not noticed."""


class Authentication(Protocol):
    def caller(self, authorization: object) -> Principal:
        """The caller with this value of an `Authorization` header; null if none was sent. Raises Unauthenticated."""
        ...


class NoAuthentication:
    """Every caller may do everything; a token is not read."""

    def caller(self, authorization: object) -> Principal:  # noqa: ARG002 - see above
        return UNRESTRICTED


@dataclass(frozen=True, slots=True)
class Rules:
    """What tokens must have beside their signature. `leeway` is how far the clocks may be apart, in seconds."""

    issuer: str | None = None
    audience: str | None = None
    leeway: float = 0.0


class BearerTokens:
    """Verifies tokens. A good one is remembered until it expires or the keys change: verifying a signature takes longer
    than answering a lookup."""

    def __init__(self, keys: Callable[[], Keys], rules: Rules) -> None:
        self._current_keys = keys
        self._keys = keys()
        self._rules = rules
        self._good: OrderedDict[str, Principal] = OrderedDict()

    def caller(self, authorization: object) -> Principal:
        if authorization is None:
            raise Unauthenticated("this server requires a token (Authorization: Bearer ...)", shown=False)
        token = _token(authorization)
        keys = self._current_keys()
        if keys is not self._keys:
            self._keys = keys
            self._good.clear()
        principal = self._good.get(token)
        if principal is None:
            principal = self._good[token] = self._principal(token)
            if len(self._good) > _REMEMBERED:
                self._good.popitem(last=False)
        elif principal.expires_at is not None and principal.expires_at <= time.time():
            del self._good[token]
            raise Unauthenticated(EXPIRED, may_pass=True)
        return principal

    def _principal(self, token: str) -> Principal:
        import jwt  # noqa: PLC0415 - loaded already, with the keys

        rules = self._rules
        try:
            key = key_of(self._keys, jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=rules.issuer,
                audience=rules.audience,
                leeway=rules.leeway,
                options={"require": ["exp", "sub"]},
            )
        except jwt.MissingRequiredClaimError as error:
            raise Unauthenticated(f"the token has no `{error.claim}`") from None
        except jwt.PyJWTError as error:
            kind = type(error).__name__
            raise Unauthenticated(_MESSAGES.get(kind, "the token is malformed"), may_pass=kind in _PASSING) from None
        if problem := text_problem(claims["sub"]):
            raise Unauthenticated(f"the token's subject (sub) cannot be the actor of a change: it {problem}")
        expires_at = min(int(claims["exp"]), _END_OF_TIME) + rules.leeway
        return Principal(claims["sub"], frozenset(_scopes(claims)), expires_at)


def _token(authorization: object) -> str:
    if not isinstance(authorization, str):
        raise Unauthenticated("the authorization must be a string: `Bearer` and a token")
    if len(authorization) > len("Bearer ") + LONGEST_TOKEN:
        raise Unauthenticated(f"the token is longer than {LONGEST_TOKEN:,} characters")
    found = _BEARER.fullmatch(authorization)
    if found is None:
        raise Unauthenticated("the authorization must be `Bearer` and a token")
    return found[1]


def _scopes(claims: Mapping[str, Any]) -> Iterator[Scope]:
    """Those that this server has; each includes READ."""
    for claim in _SCOPE_CLAIMS:
        given = claims.get(claim)
        names = given.split() if isinstance(given, str) else given if isinstance(given, list) else ()
        for scope in Scope:
            if scope in names:
                yield from (Scope.READ, scope)


async def wait_until_expired(principal: Principal) -> None:
    """Returns then; for a principal that never expires, not at all.

    Of two clocks the first to reach the end decides. The wall clock reaches it when the token expires: the event loop's
    own stands still while the machine sleeps, and does not notice a wall clock that is set forward. The loop's clock
    reaches it when the time has passed that the token had left at the beginning: a wall clock that is set back does not
    prolong it.
    """
    if principal.expires_at is None:
        await asyncio.get_running_loop().create_future()
        return
    loop = asyncio.get_running_loop()
    latest = loop.time() + principal.expires_at - time.time()
    while (left := min(principal.expires_at - time.time(), latest - loop.time())) > 0:  # noqa: ASYNC110 - no event
        await asyncio.sleep(min(left, SLICE_SECONDS))


def authentication(settings: Settings) -> Authentication:
    """As the settings have it. Raises SettingsError that names the setting whose keys cannot be read."""
    rules = Rules(settings.auth_issuer, settings.auth_audience, settings.auth_leeway_seconds)
    if settings.auth_secret is not None:
        keys = signing_key(settings)
        return BearerTokens(lambda: keys, rules)
    if settings.auth_secret_file is not None:
        return BearerTokens(secret_file(settings.auth_secret_file), rules)
    if settings.auth_jwks_file is not None:
        return BearerTokens(public_key_file(settings.auth_jwks_file), rules)
    return NoAuthentication()
