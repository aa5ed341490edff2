"""What a process writes to stderr: each line as text or as JSON, with fields of its own, and never a secret.

Two things keep secrets out, because either has gaps. Libraries log what clients send them (websockets its frames,
uvicorn addresses with their query), cut anywhere, so of libraries nothing below a warning is written, at any level. And
each line is searched for what looks like a bearer token or a password before it is written, tracebacks included.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, TypeAlias

Format: TypeAlias = Literal["text", "json"]

_OURS: Final = ("graph", "migrations", "persistence", "strategies")

_FIELDS: Final = "fields"
"""The attribute of a record that has the fields of its line."""

_HIDDEN: Final = "[hidden]"

_WORD: Final = r"[^\s\"',;&}\]\\]+"

_GIVEN: Final = rf"(?!{re.escape(_HIDDEN)}|(?:bearer|basic)\b){_WORD}"

_SECRETS: Final = (
    (re.compile(rf"\b(bearer|basic)((?:[\s:=]|%20|\+)+)(?!\.\.\.){_WORD}", re.IGNORECASE), rf"\1\2{_HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}"), _HIDDEN),
    (re.compile(r"(://[^/\s:@]{0,256}):\S{0,512}@"), rf"\1:{_HIDDEN}@"),
    (
        re.compile(
            rf"(?<![\w.])((?:authorization|password|passwd)\\?[\"']?\s*[=:]\s*(?:\\?[\"'])?){_GIVEN}", re.IGNORECASE
        ),
        rf"\1{_HIDDEN}",
    ),
    (
        re.compile(
            rf"(?<![\w.])((?:(?:access_|id_|refresh_)?token|pwd|sslpassword|secret)"
            rf"(?:=|\\?[\"']\s*:\s*)(?:\\?[\"'])?){_GIVEN}",
            re.IGNORECASE,
        ),
        rf"\1{_HIDDEN}",
    ),
)


_TELLING: Final = ("bearer", "basic", "eyj", "://", "authorization", "passw", "token", "pwd", "secret")
"""One of these is in whatever a pattern finds; to look for them takes a tenth of the time."""


ABANDONED: Final = r"coroutine '.*\b(_async_resolver|complete_awaitable_value|get_results)' was never awaited"
"""A warning about coroutines of graphql-core and Strawberry: fields of a selection are begun one after the other, and
left unawaited where the client leaves in that turn, or one of them is refused at once."""


def log_to_stderr(level: str, form: Format) -> None:
    """Lines of that severity (debug, info, warning, error) or more, of this whole process. Once a process."""
    # A library that finds a level enabled makes each of its lines, also where it is not written then.
    others = max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()])
    logging.basicConfig(level=others, handlers=[line_handler(form)])
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
    # What is tried again is logged where that is decided, with its reason.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)
    warnings.filterwarnings("ignore", ABANDONED, RuntimeWarning)


def line_handler(form: Format, stream: TextIO | None = None) -> logging.Handler:
    """Writes lines to the stream, stderr if it is null. Safe at any level of any logger."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(_is_written)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    return handler


def log(logger: logging.Logger, level: int, message: str, fields: Mapping[str, Any]) -> None:
    """A line with fields; those that are null are left out."""
    if logger.isEnabledFor(level):
        given = {name: value for name, value in fields.items() if value is not None}
        logger.log(level, message, extra={_FIELDS: given}, stacklevel=2)


def without_secrets(text: str) -> str:
    lowered = text.lower()
    if not any(word in lowered for word in _TELLING):
        return text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def escaped(text: str) -> str:
    """Without control, format (bidirectional ones among them) and unassigned characters, and without lone surrogates:
    each is written as its escape sequence, so that no text can add a line, or look like another one."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


class TextFormatter(logging.Formatter):
    """`2026-01-31 09:30:00,123 INFO graph.http: message field=value`, and the lines of a traceback, indented."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_logfmt(value)}" for name, value in _fields_of(record).items())
        message = escaped(record.getMessage())
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {message}{fields}"
        if record.exc_info:
            shown = self.formatException(record.exc_info).splitlines()
            line = "\n".join([line, *(f"  {escaped(each)}" for each in shown)])
        return without_secrets(line)


class JsonFormatter(logging.Formatter):
    """One object a line, in ASCII: `time` (RFC 3339), `level`, `logger`, `message`, the fields, and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        # Each text before it is encoded: what is searched for must not be cut by escape sequences.
        return json.dumps(_hidden(document), default=str)


def _is_written(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] in _OURS


def _fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, _FIELDS, {})
    return fields


def _hidden(value: Any) -> Any:
    match value:
        case str():
            return without_secrets(value)
        case dict():
            return {name: _hidden(member) for name, member in value.items()}
        case list() | tuple():
            return [_hidden(member) for member in value]
        case _:
            return value


def _logfmt(value: object) -> str:
    """In quotation marks where it would not be one word without."""
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    text = escaped(str(value))
    if text and not any(character in text for character in ' ="\\'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
