"""What a document may be: its bounds, checked in a time that is linear in its size, and then the rules of validation.

The bounds are generous for people and programs, and are what one document can cost: some rules compare every field with
every other of the same name, print the whole of what they refuse, or look for names that are alike. Many shards are
read by a list and changed through variables: neither makes a document longer.
docs/decisions/0047-what-an-operation-costs.md.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    InlineFragmentNode,
    Lexer,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    ParallelVisitor,
    SelectionNode,
    SelectionSetNode,
    Source,
    Token,
    TypeInfo,
    TypeInfoVisitor,
    ValueNode,
    Visitor,
    specified_rules,
    visit,
)
from graphql.language.parser import Parser
from graphql.validation import OverlappingFieldsCanBeMergedRule, ValidationContext
from graphql.validation.validate import ValidationAbortedError
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from graph.execution.errors import Code, coded

MAX_CHARACTERS: Final = 65_536
"""Of a document, unless the setting has another number."""

MAX_TOKENS: Final = 5_000

MAX_DEPTH: Final = 32

MAX_ALIASES: Final = 200

MAX_FIELDS: Final = 2_000

MAX_REPEATED: Final = 50
"""Of one response name in one selection set, inline fragments included."""

MAX_MEMBERS: Final = 100
"""Fields of one input object. A refusal prints all of them."""

MAX_COMPARISONS: Final = 20_000
"""Of fields that have the same response name, in units of graphql-core, which takes two for a comparison. The
operations of `frontend-queries` take 200 at most."""

MAX_ERRORS: Final = 5
"""Reported of one document, or of the variables of one operation."""

LONGEST_WITH_SUGGESTIONS: Final = 2_000
"""Characters of a document of which a refusal says what may have been meant: each suggestion costs milliseconds."""

_TOKENS_BETWEEN_PAUSES: Final = 32

TRUSTED_FACTOR: Final = 10
"""How much longer a trusted document may be: its characters, tokens, aliases and fields."""


class _BoundedComparisons(OverlappingFieldsCanBeMergedRule):
    """Gives up where graphql-core's own bound would let half a second pass."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = MAX_COMPARISONS


_RULES: Final = (
    *(_BoundedComparisons if rule is OverlappingFieldsCanBeMergedRule else rule for rule in specified_rules),
    MaybeNullValidationRule,
    OneOfInputValidationRule,
)


def go_on() -> None:
    """No pause."""


class _PausingLexer(Lexer):
    """Calls `pause` every few tokens."""

    def __init__(self, text: str, pause: Callable[[], None]) -> None:
        super().__init__(Source(text))
        self._pause = pause
        self._tokens = 0

    def advance(self) -> Token:
        self._tokens += 1
        if self._tokens % _TOKENS_BETWEEN_PAUSES == 0:
            self._pause()
        return super().advance()


class _Pausing(Visitor):
    """Calls `pause` at each node, beside the rules of validation."""

    def __init__(self, pause: Callable[[], None]) -> None:
        super().__init__()
        self._pause = pause

    def enter(self, *_: object) -> None:
        self._pause()


def parse(text: str, most_tokens: int, pause: Callable[[], None]) -> DocumentNode:
    """As graphql-core's, which takes no lexer."""
    lexer = _PausingLexer(text, pause)
    try:
        return Parser(lexer.source, max_tokens=most_tokens, lexer=lexer).parse_document()
    except RecursionError:
        pass  # not as the context of what is raised: it has a thousand frames
    raise GraphQLSyntaxError(lexer.source, lexer.token.start, "The document is nested too deeply.")


def parse_within_limits(
    text: str, characters: int = MAX_CHARACTERS, *, is_trusted: bool = False, pause: Callable[[], None] = go_on
) -> DocumentNode:
    """Raises GraphQLError: GraphQLSyntaxError, or for a text that is too long, or has too many tokens, one with its
    code. None of them quotes the text. `pause` is called again and again meanwhile."""
    factor = TRUSTED_FACTOR if is_trusted else 1
    if len(text) > characters * factor:
        raise _too_long(f"has {len(text):,} characters; at most {characters * factor:,} are allowed")
    try:
        document = parse(text, MAX_TOKENS * factor, pause)
    except GraphQLSyntaxError as error:
        if f"more than {MAX_TOKENS * factor} tokens" not in error.message:
            raise
    else:
        _unlink_tokens(document)
        return document
    raise _too_long(f"has more than {MAX_TOKENS * factor:,} tokens")


def _unlink_tokens(document: DocumentNode) -> None:
    """Each refers to its neighbours, so all of them would stay until a garbage collection looks at them, and for ever
    if they are exempted from it (`graph/server/garbage`). Only the lexer needs that."""
    token = None if document.loc is None else document.loc.start_token
    while token is not None:
        following = token.next
        token.prev = token.next = None
        token = following


def _too_long(what: str) -> GraphQLError:
    advice = "Hand values over as variables, and send what is left as several documents."
    return coded(GraphQLError(f"The document {what}. {advice}"), Code.PARSE_FAILED)


def problems_of(
    schema: GraphQLSchema,
    document: DocumentNode,
    characters: int,
    *,
    is_trusted: bool = False,
    pause: Callable[[], None] = go_on,
) -> list[GraphQLError]:
    """What keeps a document, of so many characters, from being executed, with codes: at most MAX_ERRORS, and that there
    are more. `pause` is called again and again meanwhile."""
    try:
        problems = limit_problems(document, TRUSTED_FACTOR if is_trusted else 1)
        hide_suggestions = characters > LONGEST_WITH_SUGGESTIONS
        problems = problems or _broken_rules(schema, document, pause, hide_suggestions=hide_suggestions)
    except RecursionError:
        problems = [GraphQLError("The document is nested too deeply.")]
    return [coded(problem, Code.VALIDATION_FAILED) for problem in problems]


def _broken_rules(
    schema: GraphQLSchema, document: DocumentNode, pause: Callable[[], None], *, hide_suggestions: bool
) -> list[GraphQLError]:
    problems = _validated(schema, document, pause, hide_suggestions=hide_suggestions)
    if problems and isinstance(problems[-1], ValidationAbortedError) and len(problems) <= MAX_ERRORS:
        problems[-1] = GraphQLError(
            "The document is too intricate to be validated: it selects fields of the same name in too many places, or "
            "nests too many fragments. Select each field once, and send what is left as several documents."
        )
    return problems


def _validated(
    schema: GraphQLSchema, document: DocumentNode, pause: Callable[[], None], *, hide_suggestions: bool
) -> list[GraphQLError]:
    """As graphql-core's `validate`, but that it leaves little garbage: rules, their context and what visits the
    document for them refer to each other, thousands of objects of each document. They are taken apart."""
    errors: list[GraphQLError] = []

    def report(error: GraphQLError) -> None:
        if len(errors) >= MAX_ERRORS:
            raise ValidationAbortedError("Too many validation errors, error limit reached. Validation aborted.")
        errors.append(error)

    types = TypeInfo(schema)
    context = ValidationContext(schema, document, types, report, hide_suggestions)
    rules: list[Visitor] = [_Pausing(pause), *(rule(context) for rule in _RULES)]
    every_rule = ParallelVisitor(rules)
    visitor = TypeInfoVisitor(types, every_rule)
    try:
        visit(document, visitor)
    except ValidationAbortedError as error:
        error.__context__ = None
        errors.append(error.with_traceback(None))
    finally:
        for each in (visitor, every_rule, *rules, context):
            vars(each).clear()
    return errors


@dataclass(frozen=True, slots=True)
class _Size:
    """Of a selection with its fragments spread out: how deep it nests, how many aliases and fields it comes to."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0

    def beside(self, other: "_Size") -> "_Size":
        return _Size(max(self.depth, other.depth), self.aliases + other.aliases, self.fields + other.fields)


def limit_problems(document: DocumentNode, factor: int = 1) -> list[GraphQLError]:
    """The limits that a document exceeds, `factor` times as large but for depth and repetition. To be checked before
    the rules of validation: those look at every definition, whether an operation uses it or not, and so does this.
    """
    sizes = _Sizes(document)
    total = _Size()
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            total = total.beside(sizes.of(definition.selection_set))
    for unused in sizes.unused():
        total = total.beside(unused)
    repeated, name = _most_repeated(document)
    members = max((_members(value) for value in _values(document)), default=0)
    spread = "with its fragments spread out, and those that are not used"
    smaller = "send what is left as several documents"
    return [
        GraphQLError(f"The document {what}; at most {limit:,} are allowed. {advice}.")
        for what, actual, limit, advice in (
            (f"nests {total.depth:,} levels deep", total.depth, MAX_DEPTH, "Ask for what is deeper by its id"),
            (
                f"has {total.aliases:,} aliases, {spread}",
                total.aliases,
                MAX_ALIASES * factor,
                "Ask for many records by a list, such as `shardsByKey`, or send several documents",
            ),
            (
                f"selects {total.fields:,} fields, {spread}",
                total.fields,
                MAX_FIELDS * factor,
                f"Leave out what is not shown, or {smaller}",
            ),
            (
                f"selects `{name}` {repeated:,} times in one place",
                repeated,
                MAX_REPEATED,
                "Select it once, or, with other arguments, under aliases",
            ),
            (
                f"has an input with {members:,} fields",
                members,
                MAX_MEMBERS,
                "No input of the schema has as many; hand values over as variables",
            ),
        )
        if actual > limit
    ]


def field_count(document: DocumentNode) -> int:
    """How many fields its operations select, with fragments spread out."""
    sizes = _Sizes(document)
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return sum(sizes.of(operation.selection_set).fields for operation in operations)


class _Sizes:
    """Sizes of the selections of one document; every fragment is measured once, however often it is spread."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._measured: dict[str, _Size] = {}

    def of(self, selection_set: SelectionSetNode | None) -> _Size:
        depth = aliases = fields = 0
        for selection in selection_set.selections if selection_set else ():
            size = self._selection(selection)
            depth, aliases, fields = max(depth, size.depth), aliases + size.aliases, fields + size.fields
        return _Size(depth, aliases, fields)

    def unused(self) -> Iterator[_Size]:
        """Of the fragments that nothing measured so far has spread."""
        for name in self._fragments:
            if name not in self._measured:
                yield self._fragment(name)

    def _selection(self, selection: SelectionNode) -> _Size:
        match selection:
            case FieldNode():
                inner = self.of(selection.selection_set)
                alias = 0 if selection.alias is None else 1
                return _Size(inner.depth + 1, inner.aliases + alias, inner.fields + 1)
            case InlineFragmentNode():
                inner = self.of(selection.selection_set)
            case FragmentSpreadNode():
                inner = self._fragment(selection.name.value)
            case _:
                raise TypeError(f"no such selection: {selection.kind}")
        return _Size(inner.depth + 1, inner.aliases, inner.fields)

    def _fragment(self, name: str) -> _Size:
        if name not in self._measured:
            self._measured[name] = _Size()  # a fragment that spreads itself is refused by another rule
            if name in self._fragments:
                self._measured[name] = self.of(self._fragments[name].selection_set)
        return self._measured[name]


def _most_repeated(document: DocumentNode) -> tuple[int, str]:
    """How often one response name, or one fragment, stands in one selection set, and its name."""
    sets = [definition.selection_set for definition in document.definitions if isinstance(definition, _EXECUTABLE)]
    most, most_name = 0, ""
    while sets:
        names: Counter[str] = Counter()
        beside = [sets.pop()]
        while beside:
            for selection in beside.pop().selections:
                if isinstance(selection, FieldNode):
                    names[(selection.alias or selection.name).value] += 1
                    if selection.selection_set is not None:
                        sets.append(selection.selection_set)
                elif isinstance(selection, InlineFragmentNode):
                    beside.append(selection.selection_set)
                elif isinstance(selection, FragmentSpreadNode):
                    names["..." + selection.name.value] += 1
        if names:
            name, times = names.most_common(1)[0]
            if times > most:
                most, most_name = times, name
    return most, most_name


_EXECUTABLE: Final = (OperationDefinitionNode, FragmentDefinitionNode)


def _values(document: DocumentNode) -> Iterator[ValueNode]:
    """The literals of arguments, of those of directives, and of defaults of variables."""
    nodes: list[Any] = [definition for definition in document.definitions if isinstance(definition, _EXECUTABLE)]
    while nodes:
        node = nodes.pop()
        for directive in getattr(node, "directives", None) or ():
            yield from (argument.value for argument in directive.arguments or ())
        yield from (argument.value for argument in getattr(node, "arguments", None) or ())
        for variable in getattr(node, "variable_definitions", None) or ():
            nodes.append(variable)
            if variable.default_value is not None:
                yield variable.default_value
        selection_set = getattr(node, "selection_set", None)
        if selection_set is not None:
            nodes += selection_set.selections


def _members(value: ValueNode) -> int:
    """How many fields the largest object of a literal has."""
    most, values = 0, [value]
    while values:
        value = values.pop()
        if isinstance(value, ListValueNode):
            values += value.values
        elif isinstance(value, ObjectValueNode):
            most = max(most, len(value.fields))
            values += (each.value for each in value.fields)
    return most
