"""Settings: environment variables `OMNIRELAY_*` over an optional TOML file, parsed once into a frozen object.

docs/operations/settings.md lists them; a test compares that list with this file. A TOML file may declare namespaces as
well (`namespace_declarations`).
"""

import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from graph.namespace_declarations import NamespaceDeclaration
from persistence.secret_files import SecretExposed, require_hidden

PREFIX: Final = "OMNIRELAY_"

_KEYS: Final = ("auth_secret", "auth_secret_file", "auth_jwks_file")


class SettingsError(Exception):
    """The settings cannot be used. The message names each one that is wrong, and where it came from."""


class Settings(BaseModel):
    """How one server process runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # First, because what `host` may be depends on them.
    auth_secret: SecretStr | None = Field(
        None, description="Secret that HS256 tokens are signed with, at least 32 bytes. Better kept in a file."
    )
    auth_secret_file: Path | None = Field(
        None, description="File with that secret instead, read again when it changes."
    )
    auth_jwks_file: Path | None = Field(
        None, description="File with the public keys of tokens as a JSON Web Key Set, read again when it changes."
    )
    auth_issuer: str | None = Field(None, description="Issuer (`iss`) that tokens must be from. Unset: any.")
    auth_audience: str | None = Field(
        None, description="Audience (`aud`) that tokens must be for. Unset: only tokens that name none."
    )
    auth_leeway_seconds: float = Field(
        10.0, ge=0, le=300, description="How far the clocks of issuer and server may be apart, in seconds."
    )
    host: str = Field("127.0.0.1", description="Address to listen on. Loopback only while there is no authentication.")
    port: int = Field(8080, ge=0, le=65_535, description="TCP port to listen on; 0 takes a free one.")
    allowed_hosts: tuple[str, ...] = Field(
        ("127.0.0.1", "localhost", "[::1]"),
        description=(
            "Host names a request may be addressed to, probes and metrics excepted; as a variable, separated by commas."
        ),
    )
    allowed_origins: tuple[str, ...] = Field(
        (),
        description=(
            "Origins whose pages may use the API from a browser beside the server's own, as `https://ops.example.com`; "
            "`*` for any, with authentication only."
        ),
    )
    database_url: str | None = Field(
        None, description="PostgreSQL 14 or newer, as postgresql://user@host/database. Unset: an embedded one."
    )
    data_dir: Path = Field(Path(".omnirelay"), description="Folder of the embedded PostgreSQL.")
    wait_for_database_seconds: float = Field(
        0.0, ge=0, le=86_400, description="How long a starting server waits for a database that is not up, in seconds."
    )
    demo: bool | None = Field(
        None, description="Load the demo mesh into an empty store. Unset: only into the embedded one."
    )
    read_connections: int = Field(8, ge=1, le=100, description="Connections for reading, at most.")
    write_connections: int = Field(8, ge=1, le=100, description="Connections for writing, at most.")
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Processes that serve, each with its own table in memory; with 2 or more SIGHUP restarts them.",
    )
    plan_processes: int = Field(
        2,
        ge=0,
        le=16,
        description="Processes that make and apply plans beside the server; 0 has the server do it, and lookups wait.",
    )
    max_body_bytes: int = Field(
        1_048_576, ge=1_024, le=1_073_741_824, description="Largest request that is no mutation, in bytes."
    )
    max_mutation_bytes: int = Field(
        16_777_216,
        ge=1_024,
        le=1_073_741_824,
        description="Largest mutation, in bytes; read only for callers that may write.",
    )
    send_timeout_seconds: float = Field(
        30.0, ge=1, le=3_600, description="How long a client may leave its answer unread, in seconds."
    )
    connections_per_address: int | None = Field(
        None,
        ge=0,
        description=(
            "Connections from one address at most, loopback excepted; 0 for any number, as behind a proxy. "
            "Unset: half of what the process has descriptors for."
        ),
    )
    document_characters: int = Field(
        65_536,
        ge=1_024,
        le=10_000_000,
        description="Longest document accepted, in characters; a trusted one may be ten times as long.",
    )
    operation_records: int = Field(
        10_000, ge=0, le=10_000_000, description="Records that one operation may ask for; 0 for no limit."
    )
    caller_records: int = Field(
        6_000_000,
        ge=1_000,
        le=10_000_000_000,
        description="Records that a caller may ask for at once, lookups aside: what its budget holds.",
    )
    caller_records_per_second: int = Field(
        100_000,
        ge=0,
        le=10_000_000_000,
        description="Records that come back to a caller's budget each second; 0 for no budgets.",
    )
    trusted_documents: Literal["off", "prefer", "require"] = Field(
        "prefer",
        description="Whether documents may be named by the ids of trusted ones, and whether others are taken at all.",
    )
    trusted_documents_manifest: Path | None = Field(
        None, description="Manifest of documents to trust beside the program's own, or a folder of such `*.json`."
    )
    feed_ring: int = Field(
        16_384, ge=500, le=10_000_000, description="Newest diffs kept in memory for subscribers, in diffs."
    )
    replica_shards: int | None = Field(
        None,
        ge=0,
        le=10_000_000,
        description="Most shards kept in memory to answer lookups from; 0 for none. Unset: what memory allows.",
    )
    bookmark_seconds: float = Field(
        10.0, ge=0.1, le=3_600, description="Longest silence of a subscription before it sends its cursor, in seconds."
    )
    drain_seconds: float = Field(
        10.0, ge=0, le=600, description="How long a stopping server waits for requests under way, in seconds."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line to log.")
    log_format: Literal["text", "json"] = Field("text", description="Form of the lines that are logged.")
    slow_request_seconds: float = Field(
        1.0, ge=0, le=3_600, description="From how long on a request that went well is logged at `info`, in seconds."
    )
    tracing: Literal["off", "otlp"] = Field(
        "off", description="Where spans go: `otlp` to where the variables `OTEL_*` name; needs the extra `tracing`."
    )
    namespaces: dict[str, NamespaceDeclaration] = Field(
        default_factory=dict, description="Namespaces declared in the file; followed while the server runs."
    )

    @field_validator("auth_secret_file", "auth_jwks_file")
    @classmethod
    def _only_one(cls, path: Path | None, known: ValidationInfo) -> Path | None:
        """Two kinds of keys would be two ways in, and the rotation of one would leave the other."""
        others = [name for name in _KEYS if name != known.field_name and known.data.get(name) is not None]
        if path is not None and others:
            raise ValueError(f"must not be set together with {others[0]}")
        return path

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str, known: ValidationInfo) -> str:
        """Without authentication every client that reaches the port may write, so only this machine may reach it."""
        if any(known.data.get(name, "refused") is not None for name in _KEYS):
            return host
        try:
            loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError("must be a loopback address such as 127.0.0.1: authentication is not configured")
        return host

    @field_validator("allowed_hosts", "allowed_origins", mode="before")
    @classmethod
    def _separated(cls, values: object) -> object:
        return [value.strip() for value in values.split(",") if value.strip()] if isinstance(values, str) else values

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...], known: ValidationInfo) -> tuple[str, ...]:
        """As browsers write them: without the port that is the scheme's own."""
        if "*" in origins and not any(known.data.get(name) is not None for name in _KEYS):
            raise ValueError("must not be * while authentication is not configured: any page could write")
        return tuple(dict.fromkeys(map(_origin, origins)))

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
            raise ValueError("must begin with postgresql://")
        return url

    @property
    def loads_demo(self) -> bool:
        return self.database_url is None if self.demo is None else self.demo


def load_settings(config: Path | None, environment: Mapping[str, str], **overrides: Any) -> Settings:
    """Settings from `overrides` (those not null), then the environment, then the TOML file, then the defaults.

    Raises SettingsError naming every setting that is wrong and where it was set.
    """
    variables = {name: value for name in Settings.model_fields if (value := environment.get(variable(name)))}
    given = {name: value for name, value in overrides.items() if value is not None}
    file = {} if config is None else _read(config)
    if config is not None:
        _require_hidden(config, file)

    def source(name: str) -> str:
        return "command line" if name in given else variable(name) if name in variables else str(config)

    return _validated(file | variables | given, source)


def load_namespaces(file: Path) -> Mapping[str, NamespaceDeclaration]:
    """The namespaces that a TOML file declares. Values of other settings are not looked at: what a server may have
    depends on its variables and options, too.

    Raises SettingsError for a declaration that is wrong, and for a name that is no setting's.
    """
    given = _read(file)
    others = dict.fromkeys(given.keys() - Settings.model_fields.keys())
    return _validated({"namespaces": given.get("namespaces", {}), **others}, lambda _name: str(file)).namespaces


def _validated(given: Mapping[str, Any], source: Callable[[str], str]) -> Settings:
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_context=False):
            name = ".".join(map(str, problem["loc"]))
            top = str(problem["loc"][0]) if problem["loc"] else ""
            lines.append(f"{name} ({source(top)}): {problem['msg'].removeprefix('Value error, ')}")
        raise SettingsError("\n".join(lines)) from error


def has_password(url: str) -> bool:
    """Whether a database's URL has a password in it."""
    try:
        parts = urlsplit(url)
        return bool(parts.password) or any(name == "password" for name, _ in parse_qsl(parts.query))
    except ValueError:  # no URL at all, which is found elsewhere
        return "@" in url


def _require_hidden(config: Path, given: Mapping[str, Any]) -> None:
    """Raises SettingsError for a file with a secret in it that others may read."""
    url = given.get("database_url")
    if "auth_secret" in given:
        named = "auth_secret"
    elif isinstance(url, str) and has_password(url):
        named = "database_url"
    else:
        return
    try:
        require_hidden(config)
    except SecretExposed as error:
        raise SettingsError(f"{named} ({config}): the file {error}") from error
    except OSError as error:
        raise SettingsError(f"{config}: {error.strerror}") from error


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # also for what is not UTF-8, and for a number of thousands of digits
        raise SettingsError(f"{path}: not TOML: {error}") from error
    except RecursionError as error:
        raise SettingsError(f"{path}: not TOML: it is nested too deeply") from error


_ORIGIN: Final = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?/?", re.ASCII)

_OWN_PORTS: Final = {"http": "80", "https": "443"}


def _origin(text: str) -> str:
    """Raises ValueError for what is none."""
    parts = _ORIGIN.fullmatch(text.lower())
    if text == "*":
        return text
    if parts is None:
        raise ValueError(f"must be origins such as https://ops.example.com, without a path: {text[:100]!a} is none")
    scheme, host, port = parts.groups()
    return f"{scheme}://{host}" if port in {None, _OWN_PORTS[scheme]} else f"{scheme}://{host}:{int(port)}"
