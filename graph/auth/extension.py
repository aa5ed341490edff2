"""Where operations are held against the scopes they need, on their way through Strawberry."""

from collections.abc import Iterator

from graphql import get_operation_ast
from strawberry.extensions import SchemaExtension

from graph.auth.requirements import Requirements
from graph.context import Context


class Authorise(SchemaExtension):
    """To stand after what validates. One per operation, as Strawberry wants it."""

    def __init__(self, requirements: Requirements) -> None:
        self._requirements = requirements

    def on_validate(self) -> Iterator[None]:
        execution = self.execution_context
        document, context = execution.graphql_document, execution.context
        if document is not None and not execution.pre_execution_errors and isinstance(context, Context):
            operation = get_operation_ast(document, execution.operation_name)
            problem = operation and self._requirements.problem(document, operation, context.principal)
            if problem:
                execution.pre_execution_errors = [problem]
        yield
