"""Discovery of the plug-ins that are installed, and the reasons for refusing one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from graph.server.plugins import PlugInError, discover

Install: TypeAlias = Callable[..., None]

GOOD = """
from tests.support.fake_strategies import Mixed

class Strategy(Mixed):
    pass
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution of one module, `plug_in_<name>`, with one entry point."""
    modules = []

    def install(name: str, source: str = GOOD, attribute: str = "Strategy") -> None:
        module = f"plug_in_{name.replace('-', '_')}"
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(source)
        information = tmp_path / f"{module}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[omnirelay.strategies]\nmine = {module}:{attribute}\n")

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    for module in modules:
        sys.modules.pop(module, None)


def refusal() -> str:
    with pytest.raises(PlugInError) as raised:
        discover()
    return str(raised.value)


def test_without_plug_ins_there_are_none() -> None:
    assert list(discover()) == []


def test_a_class_is_made_a_strategy(install: Install) -> None:
    install("good")
    assert [strategy.name for strategy in discover()] == ["mixed"]


def test_an_object_is_a_strategy(install: Install) -> None:
    install("good", GOOD + "mine = Strategy()\n", "mine")
    assert [strategy.name for strategy in discover()] == ["mixed"]


def test_plug_ins_are_in_order_of_their_distributions(install: Install) -> None:
    for name in ("second", "third", "first"):
        install(name, GOOD + f"    name = 'of-{name}'\n")
    assert [strategy.name for strategy in discover()] == ["of-first", "of-second", "of-third"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("", "cannot be loaded: AttributeError: module 'plug_in_bad' has no attribute 'Strategy'"),
        ("def f(): pass\nclass Strategy:\n    __init__ = f", "cannot be loaded: TypeError: f() takes 0 positional"),
        ("Strategy = None", "is no strategy: its name must be text, not None"),
        ("class Strategy:\n    name = 'x'", "is no strategy: its algorithm_version must be a whole number, not None"),
        (
            GOOD + "    name = None",
            "is no strategy: its name must be text, not None",
        ),
        (
            GOOD + "    name = 'a b'",
            "is no strategy: its name must match [A-Za-z0-9][A-Za-z0-9._:-]{0,127}, not be 'a b'",
        ),
        (GOOD + "    name = ''", "is no strategy: its name must match "),
        (GOOD + "    name = 'x' * 129", "is no strategy: its name must match "),
        (GOOD + "    name = 'x\\n'", "is no strategy: its name must match "),
        (GOOD + "    name = 'ring'", "the name ring is taken by Omnirelay itself"),
        (GOOD + "    algorithm_version = '1'", "is no strategy: its algorithm_version must be a whole number, not '1'"),
        (
            GOOD + "    algorithm_version = 0",
            "is no strategy: its algorithm_version must be from 1 to 2147483647, not 0",
        ),
        (
            GOOD + "    algorithm_version = 2**31",
            "is no strategy: its algorithm_version must be from 1 to 2147483647, not 2147483648",
        ),
        (GOOD + "    movement = 'minimal'", "is no strategy: its movement must be a Movement, not 'minimal'"),
        (GOOD + "    prepare = None", "is no strategy: it has no method prepare"),
        (
            GOOD + "    parameters = ['a']",
            "is no strategy: its parameters must be a mapping of names to parameters, not ['a']",
        ),
        (GOOD + "    parameters = {'a': 1}", "cannot be loaded: AttributeError: 'int' object has no attribute 'rule'"),
        (
            GOOD + "    parameters = {'selector': Mixed.parameters['depth']}",
            "is no strategy: every strategy has a parameter selector already",
        ),
        (
            "from strategies.parameters import IntegerParameter\n"
            + GOOD
            + "    parameters = {'depth': IntegerParameter(0, 1, 9)}",
            "is no strategy: its parameter depth must be a whole number from 1 to 9, which its default is not",
        ),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_named_with_the_reason(install: Install, source: str, reason: str) -> None:
    install("bad", source)
    assert refusal().startswith(f"plug-in bad, entry point mine = plug_in_bad:Strategy: {reason}")


def test_a_name_that_another_plug_in_has_is_refused(install: Install) -> None:
    install("first")
    install("second")
    assert refusal() == ("plug-in second, entry point mine = plug_in_second:Strategy: the name mixed is taken by first")
