"""Spans by OpenTelemetry, sent by OTLP over HTTP: the extra `tracing`, which is imported where the setting is on.

Where spans go, which are sampled and what the service is called is read from OpenTelemetry's own variables.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

from graph.settings import Settings, SettingsError
from persistence.tracing import NO_TRACING, Attribute, Parent, Tracer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SERVICE_NAME: Final = "omnirelay"
"""Unless OTEL_SERVICE_NAME, or OTEL_RESOURCE_ATTRIBUTES, names another."""

FLUSH_SECONDS: Final = 5.0
"""How long a process that stops tries to send the spans it still has."""

_PREFIX: Final = "omnirelay."


class OpenTelemetryTracer:
    """A Tracer. A `Parent` is one of OpenTelemetry's contexts."""

    is_on = True

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415 - see the module's docstring
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415 - same

        self._tracer = provider.get_tracer("omnirelay")
        self._context = context
        self._trace = trace
        self._propagator = tracecontext.TraceContextTextMapPropagator()
        self.root: Parent = context.Context()

    def span(
        self, name: str, parent: Parent | None = None, /, **attributes: Attribute
    ) -> AbstractContextManager[object]:
        given = parent if isinstance(parent, self._context.Context) else None
        kinds = self._trace.SpanKind
        kind = kinds.SERVER if name == "operation" else kinds.INTERNAL
        return self._tracer.start_as_current_span(name, given, kind, _named(attributes))

    def current(self) -> Parent | None:
        return self._context.get_current() if self._trace.get_current_span().is_recording() else None

    def annotate(self, **attributes: Attribute) -> None:
        self._trace.get_current_span().set_attributes(_named(attributes))

    def trace_id(self) -> str | None:
        found = self._trace.get_current_span().get_span_context()
        return f"{found.trace_id:032x}" if found.is_valid else None

    def from_header(self, traceparent: str) -> Parent | None:
        context = self._propagator.extract({"traceparent": traceparent}, self._context.Context())
        return context if self._trace.get_current_span(context).get_span_context().is_valid else None


def require_tracing(settings: Settings) -> None:
    """Raises SettingsError where spans are to be sent, and what sends them is not installed."""
    if settings.tracing == "off":
        return
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: PLC0415 - see the module's docstring
        import opentelemetry.sdk.trace.export  # noqa: F401, PLC0415 - same
    except ImportError as error:
        raise SettingsError(
            f"tracing: {settings.tracing} needs the extra `tracing`, which is not installed: "
            f"pip install 'omnirelay-shards[tracing]' ({error})"
        ) from error


@asynccontextmanager
async def open_tracer(settings: Settings) -> AsyncIterator[Tracer]:
    """Of a process; what was not sent by the end is sent then, for `FLUSH_SECONDS` at most. Raises SettingsError."""
    require_tracing(settings)
    if settings.tracing == "off":
        yield NO_TRACING
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - as above
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - same
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - same
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - same

    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": SERVICE_NAME})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield OpenTelemetryTracer(provider)
    finally:
        # A daemon: a collector that does not answer must not hold up the end of the process.
        flushing = threading.Thread(target=provider.shutdown, name="omnirelay-tracing", daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, FLUSH_SECONDS)


def _named(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Names without a dot are this program's own."""
    return {name if "." in name else _PREFIX + name: value for name, value in attributes.items()}
