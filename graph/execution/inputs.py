"""Variables and arguments of a prepared operation: from the JSON of a request to what resolvers are called with.

Functions are generated that coerce a variable, or a literal with variables in it, and make of it the Python value that
Strawberry would make, at once. They know what is right and nothing else: whatever they do not take for granted raises
an exception, any, and graphql-core coerces the variables of that request, finds again what is wrong and names it.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias, cast

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    GraphQLString,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    Undefined,
    ValueNode,
    VariableNode,
    Visitor,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
    type_from_ast,
    visit,
)
from graphql.utilities import coerce_input_literal
from graphql.utilities.coerce_input_value import coerce_default_value
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_argument
from strawberry.types.base import StrawberryMaybe, StrawberryObjectDefinition

from graph.execution.bulk_inputs import Column, Columns, MadeAs

Read: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
"""From the variables of a request to what they are in Python, by their names; or from those to the arguments of a
field, by Python's names. Raises an exception of any kind."""

TESTS: Final = {
    GraphQLString: "type({assigned}) is str",
    GraphQLID: "type({assigned}) is str",
    GraphQLInt: "type({assigned}) is int and -2147483648 <= {value} <= 2147483647",
    GraphQLFloat: "type({assigned}) is float and {value} - {value} == 0.0",
    GraphQLBoolean: "type({assigned}) is bool",
}
"""Whether a value is what it is coerced to, on the way in as on the way out."""


class NotPrepared(Exception):
    """Something that graphql-core has to execute: the operation is not compiled."""


class Functions:
    """Functions generated for one operation, and what they refer to."""

    def __init__(self, **names: Any) -> None:
        self._names: dict[str, Any] = {"failed": failed, "Undefined": Undefined, **names}
        self._locals = 0
        self.size = 0
        """Characters of them."""

    def __getitem__(self, name: str) -> Any:
        return self._names[name]

    def clear(self) -> None:
        """Once none of them runs any more: each refers to all by its globals, which are these names."""
        self._names.clear()

    def define(self, parameters: str, body: str, *, is_async: bool = False) -> str:
        """The name of a function with that body, indented by four spaces."""
        name = f"function_{len(self._names)}"
        source = f"{'async ' * is_async}def {name}({parameters}):\n    {body}\n"
        self.size += len(source)
        # Names and strings of the schema and of the document go in by `repr`, and names of Python by their own.
        exec(source, self._names)  # noqa: S102
        return name

    def named(self, value: object) -> str:
        """A global name for this value."""
        name = f"global_{len(self._names)}"
        self._names[name] = value
        return name

    def local(self) -> str:
        self._locals += 1
        return f"local_{self._locals}"

    def assigned(self, code: str) -> tuple[str, str]:
        """A name for what `code` comes to, and the expression that gives it the name."""
        if code.isidentifier():
            return code, code
        name = self.local()
        return name, f"({name} := {code})"


def failed() -> NoReturn:
    """Leaves it to graphql-core."""
    raise TypeError("not as the schema has it")


class InputCompiler:
    """Of one operation of a valid document."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        strawberry_schema = schema.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
        self._config = strawberry_schema.config
        self._scalars = strawberry_schema.schema_converter.scalar_registry
        self._schema = schema
        self._operation = operation
        self._objects: dict[GraphQLInputObjectType, str] = {}
        self.functions = Functions()

    def variables(self) -> Read:
        """Coerces the variables of a request. Raises NotPrepared."""
        lines = ["values = {}"]
        for definition in self._operation.variable_definitions or ():
            type_ = cast("GraphQLInputType", type_from_ast(self._schema, definition.type))
            name = repr(definition.variable.name.value)
            lines.append(f"if {name} in variables: values[{name}] = {self._value(type_, f'variables[{name}]')}")
            if definition.default_value is not None:
                lines.append(f"else: values[{name}] = {self._literal(type_, definition.default_value)}")
            elif isinstance(type_, GraphQLNonNull):
                lines.append("else: failed()")
        read: Read = self.functions[self._function("variables", [*lines, "return values"])]
        return read

    def arguments(self, field: GraphQLField, node: FieldNode) -> Read | None:
        """Null for a field without arguments. Raises NotPrepared."""
        if not field.args:
            return None
        given = {each.name.value: each.value for each in node.arguments or ()}
        read: Read = self.functions[
            self._function("variables", ["values = {}", *self._literals(field.args, given), "return values"])
        ]
        return read

    def _function(self, parameter: str, lines: list[str]) -> str:
        return self.functions.define(parameter, "\n    ".join(lines))

    def _value(self, type_: GraphQLInputType, code: str) -> str:
        """How to coerce the JSON that `code` comes to."""
        is_optional = not isinstance(type_, GraphQLNonNull)
        bare = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        value, assigned = self.functions.assigned(code)
        null = "None" if is_optional else "failed()"
        if is_leaf_type(bare):
            result, coerced = self.functions.assigned(f"{self.functions.named(bare.coerce_input_value)}({value})")
            checked = f"({result} if {coerced} is not Undefined else failed())"
            if bare in TESTS:
                test = TESTS[bare].format(value=value, assigned=assigned)
                return f"({value} if {test} else {null} if {value} is None else {checked})"
            return f"({null} if {assigned} is None else {checked})"
        if isinstance(bare, GraphQLList):
            columns = self._columns(bare.of_type)
            item = self.functions.local()
            each = f"{columns}({value})" if columns else f"[{self._value(bare.of_type, item)} for {item} in {value}]"
            return f"({null} if {assigned} is None else {each} if type({value}) is list else failed())"
        if isinstance(bare, GraphQLInputObjectType):
            return f"({null} if {assigned} is None else {self._object(bare)}({value}))"
        raise NotPrepared(f"an input of type {type_}")

    def _object(self, type_: GraphQLInputObjectType) -> str:
        """The function that coerces JSON to this type."""
        if type_ not in self._objects:
            names = self.functions.named(frozenset(type_.fields))
            lines = [f"type(value) is dict and value.keys() <= {names} or failed()", "values = {}"]
            for name, field in type_.fields.items():
                code = self._value(field.type, f"value[{name!r}]")
                lines += self._member(field, f"{name!r} in value", code)
            self._objects[type_] = self._function("value", [*lines, *self._made(type_)])
        return self._objects[type_]

    def _made(self, type_: GraphQLInputObjectType) -> list[str]:
        definition: StrawberryObjectDefinition = _definition(type_)
        one = ["len(values) == 1 and None not in values.values() or failed()"] if definition.is_one_of else []
        return [*one, f"return {self.functions.named(_class_of(definition))}(**values)"]

    def _columns(self, type_: GraphQLInputType) -> str | None:
        """What coerces a list with items of this type by columns; null where they are not made as named tuples."""
        bare = type_.of_type if isinstance(type_, GraphQLNonNull) else None
        if not isinstance(bare, GraphQLInputObjectType):
            return None
        made = _class_of(_definition(bare))
        if not hasattr(made, "_fields"):
            return None
        fields = {_definition(field).python_name: (name, field) for name, field in bare.fields.items()}
        return self.functions.named(Columns(made, [self._column(*fields[name], made) for name in made._fields]))

    def _column(self, name: str, field: GraphQLInputField, made: Any) -> Column:
        type_, default = field.type, coerce_default_value(field)
        bare = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        if default is Undefined and not is_required_input_field(field):
            default = made._field_defaults[_definition(field).python_name]
        coerce = self._function("values", [f"return [{self._value(type_, 'value')} for value in values]"])
        return Column(name, bare, bare is type_, default, self.functions[coerce])

    def _literals(
        self, fields: Mapping[str, GraphQLArgument] | Mapping[str, GraphQLInputField], given: Mapping[str, ValueNode]
    ) -> list[str]:
        """Statements that give the values of literals, which may be variables, to fields or arguments."""
        lines: list[str] = []
        for name, field in fields.items():
            node = given.get(name)
            if node is None:
                default = self._default(field)
                lines += [] if default is None else [default]
            elif isinstance(node, VariableNode):
                lines += self._member(field, f"{node.name.value!r} in variables", self._literal(field.type, node))
            else:
                lines.append(f"values[{_definition(field).python_name!r}] = {self._literal(field.type, node)}")
        return lines

    def _member(self, field: GraphQLArgument | GraphQLInputField, presence: str, code: str) -> list[str]:
        """Statements that give it the value of `code`, or where it is not present its default."""
        default = self._default(field)
        given = f"if {presence}: values[{_definition(field).python_name!r}] = {code}"
        return [given] if default is None else [given, f"else: {default}"]

    def _default(self, field: GraphQLArgument | GraphQLInputField) -> str | None:
        """The statement for one that is left out; null for none, where Python's own default is right."""
        own, default = _definition(field), coerce_default_value(field)
        if is_required_argument(field) if isinstance(field, GraphQLArgument) else is_required_input_field(field):
            return "failed()"
        if default is Undefined:
            return None
        value = self.functions.named(default)
        if isinstance(default, list | dict):
            value = (
                f"{self.functions.named(partial(convert_argument, default, own.type, self._scalars, self._config))}()"
            )
        return f"values[{own.python_name!r}] = {value}"

    def _literal(self, type_: GraphQLInputType, node: ValueNode) -> str:
        """How to make the value of a literal, of which `variables` may be part."""
        bare = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        if isinstance(node, VariableNode):
            code = f"variables[{node.name.value!r}]"
            if bare is type_:
                return code
            value, assigned = self.functions.assigned(code)
            return f"({value} if {assigned} is not None else failed())"
        if isinstance(node, NullValueNode):
            return "None"
        if isinstance(bare, GraphQLList):
            items = node.values if isinstance(node, ListValueNode) else [node]
            return f"[{', '.join(self._item(bare.of_type, item) for item in items)}]"
        if isinstance(bare, GraphQLInputObjectType) and isinstance(node, ObjectValueNode):
            given = {each.name.value: each.value for each in node.fields}
            lines = ["values = {}", *self._literals(bare.fields, given), *self._made(bare)]
            return f"{self._function('variables', lines)}(variables)"
        return self._constant(bare, node)

    def _item(self, type_: GraphQLInputType, node: ValueNode) -> str:
        """As `_literal`; a variable that is left out is null in a list."""
        if isinstance(node, VariableNode) and not isinstance(type_, GraphQLNonNull):
            return f"variables.get({node.name.value!r})"
        return self._literal(type_, node)

    def _constant(self, type_: GraphQLInputType, node: ValueNode) -> str:
        variables = _Variables()
        visit(node, variables)
        value = coerce_input_literal(node, type_)
        if variables.found or value is Undefined:
            raise NotPrepared("a scalar with variables in it, or that is refused")
        if isinstance(value, list | dict):
            return f"{self.functions.named(partial(deepcopy, value))}()"
        return self.functions.named(value)


class _Variables(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def enter_variable(self, *_: object) -> None:
        self.found = True


def _definition(element: Any) -> Any:
    """Strawberry's definition of an element of the schema. Raises NotPrepared for one that may be a Maybe."""
    definition = element.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    if isinstance(getattr(definition, "type", None), StrawberryMaybe):
        raise NotPrepared("a Maybe")
    return definition


def _class_of(definition: StrawberryObjectDefinition) -> Any:
    """What values of an input are made as."""
    made = definition.from_input
    return made.made if isinstance(made, MadeAs) else definition.origin
