"""Edits of nodes and namespaces, and what they leave without a placement: warned of, or refused before it is done."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from graph.execution.context import Info
from graph.schema.commands import Answer, NodeDrained, execute
from graph.schema.namespace_mutations import ConfigureNamespaceInput
from graph.schema.node_mutations import RegisterNodeInput, UpdateNodeInput
from graph.schema.pagination import selects
from persistence.commands.namespaces import ConfigureNamespace
from persistence.errors import FieldError, InvalidArgument, StoreError
from persistence.handlers.dispatch import validate
from persistence.model.outcomes import AdmissionWarning, NamespaceConfigured, NodeChanged, WarningCode
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import NodeFilter
from persistence.model.records import Namespace, Node
from persistence.planning.placeability import new_warnings, own_obstacle, warnings_of
from strategies.registry import Registry

T = TypeVar("T", Namespace, Node)

_PAGE: Final = 500

_MOST_PAGES: Final = 20
"""Of namespaces: 10,000, which take a second of a thread; those beyond are not looked at."""

_log = logging.getLogger(__name__)


async def change_node(info: Info, request: RegisterNodeInput | UpdateNodeInput) -> Answer:
    """As `execute`, with the warnings that are selected."""
    mesh = await read_mesh(info)
    answer = await execute(info, request)
    return answer if mesh is None else await mesh.with_warnings(answer)


async def configure_namespace(info: Info, request: ConfigureNamespaceInput) -> Answer:
    """As `execute`, with the warnings that are selected.

    Raises InvalidArgument for what the namespace's shards could not be placed with, unless it is forced.
    """
    if request.change.force is None:
        await _check_placeable(info, request.command(info.context.principal))
    answer = await execute(info, request)
    if not isinstance(answer, NamespaceConfigured) or not selects(info, "warnings"):
        return answer
    try:
        nodes = await _nodes(info)
    except StoreError:
        return answer  # the change is made: an error would deny that
    found = await asyncio.to_thread(warnings_of, [answer.namespace], nodes, info.context.services.strategies)
    return replace(answer, warnings=tuple(found.values()))


async def _check_placeable(info: Info, command: ConfigureNamespace) -> None:
    services = info.context.services
    try:
        validate(command, services.strategies)
    except InvalidArgument:
        return  # `execute` raises it, too
    current = await services.store.namespaces.get(command.name)
    if current is None or current.version != command.expected_version:
        return
    obstacle = await asyncio.to_thread(
        own_obstacle, current, command.strategy, command.strategy_parameters, await _nodes(info), services.strategies
    )
    if obstacle is None or await services.writer.replayed(command) is not None:
        return
    field = "strategy" if obstacle.parameter is None else f"strategyParameters.{obstacle.parameter}"
    how = "force it with a reason to have it so all the same"
    message = f"would leave its shards without a placement: {obstacle.message}; {how}"
    raise InvalidArgument(FieldError(field, message))


@dataclass(frozen=True, slots=True)
class Mesh:
    """What warnings of nodes are worked out from, as it was before a change."""

    namespaces: Sequence[Namespace]
    nodes: Sequence[Node]
    strategies: Registry

    async def with_warnings(self, answer: Answer) -> Answer:
        if not isinstance(answer, NodeChanged | NodeDrained):
            return answer
        return replace(answer, warnings=await asyncio.to_thread(self._warnings, answer.node, answer.replayed))

    def _warnings(self, node: Node, replayed: bool) -> tuple[AdmissionWarning, ...]:  # noqa: FBT001 - by to_thread
        """What is so since the node is as it is now. Of a change that was made before: what is so."""
        after = [*(other for other in self.nodes if other.node_id != node.node_id), node]
        before: Mapping[tuple[str, WarningCode], AdmissionWarning] = {}
        if not replayed:
            before = warnings_of(self.namespaces, self.nodes, self.strategies)
        return new_warnings(before, warnings_of(self.namespaces, after, self.strategies))


async def read_mesh(info: Info) -> Mesh | None:
    """Null if no warnings are selected, or it cannot be read: what is to be done may be done all the same."""
    if not selects(info, "warnings"):
        return None
    store = info.context.services.store
    try:
        namespaces = await _all(store.namespaces.page, lambda namespace: namespace.name, _MOST_PAGES)
        return Mesh(namespaces, await _nodes(info), info.context.services.strategies)
    except StoreError:
        _log.warning("warnings of placement are left out: the mesh could not be read", exc_info=True)
        return None


async def _nodes(info: Info) -> Sequence[Node]:
    """All but the removed ones."""

    async def page(request: PageRequest[str]) -> Page[Node]:
        return await info.context.services.store.nodes.page(NodeFilter(), request, shards_counted=False)

    return await _all(page, lambda node: node.node_id)


async def _all(
    read: Callable[[PageRequest[str]], Awaitable[Page[T]]], key_of: Callable[[T], str], most: int | None = None
) -> Sequence[T]:
    found: list[T] = []
    after: str | None = None
    pages = 0
    while most is None or pages < most:
        page = await read(PageRequest(_PAGE, after))
        found += page.items
        pages += 1
        if not page.has_next or not page.items:
            break
        after = key_of(page.items[-1])
    return found
