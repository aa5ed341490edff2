"""Authentication as the settings have it."""

from collections.abc import Callable
from pathlib import Path

from graph.auth.key_file import KeyFile
from graph.auth.keys import Keys, KeysUnusable, public_keys, secret_key
from graph.auth.tokens import Authentication, BearerTokens, NoAuthentication, Rules
from graph.settings import Settings, SettingsError


def authentication(settings: Settings) -> Authentication:
    """Raises SettingsError that names the setting whose keys cannot be had."""
    rules = Rules(settings.auth_issuer, settings.auth_audience, settings.auth_leeway_seconds)
    if settings.auth_secret is not None:
        keys = signing_key(settings)
        return BearerTokens(lambda: keys, rules)
    if settings.auth_secret_file is not None:
        return BearerTokens(_followed("auth_secret_file", settings.auth_secret_file, _secret_in), rules)
    if settings.auth_jwks_file is not None:
        return BearerTokens(_followed("auth_jwks_file", settings.auth_jwks_file, public_keys), rules)
    return NoAuthentication()


def signing_key(settings: Settings) -> Keys:
    """The secret that tokens can be signed with here. Raises SettingsError if there is none."""
    if settings.auth_secret_file is not None:
        return _followed("auth_secret_file", settings.auth_secret_file, _secret_in)()
    if settings.auth_secret is None:
        raise SettingsError("auth_secret, auth_secret_file: neither is set, so there is no secret to sign with")
    try:
        return secret_key(settings.auth_secret.get_secret_value().encode())
    except KeysUnusable as error:
        raise SettingsError(f"auth_secret: {error}") from error


def _followed(setting: str, path: Path, read: Callable[[bytes], Keys]) -> KeyFile:
    try:
        return KeyFile(path, read)
    except OSError as error:
        raise SettingsError(f"{setting}: {path}: {error.strerror}") from error
    except KeysUnusable as error:
        raise SettingsError(f"{setting}: {path} {error}") from error


def _secret_in(content: bytes) -> Keys:
    """A text editor ends a file with a line break, which is not part of the secret."""
    return secret_key(content.rstrip(b"\r\n"))
