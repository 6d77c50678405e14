"""docs/reference/reasons.md has every reason that the code gives, and no other.

A reason is whatever is passed for a parameter, field or key called `reason` or `failure`: of Invalid, Problem, Finding,
Draft, Progress, Terminal... The scan takes the callables from their definitions, so a new one needs no line here.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from modelpress.api.reasons import candidates, commands, conditions, gate, jobs, page, resource, sidecar, stores

PACKAGE = Path(__file__).parents[3] / "operator" / "modelpress"
TABLE = PACKAGE / "api" / "reasons"
NAMES = frozenset({"reason", "failure"})
ENUMERATIONS = frozenset({"Bypass", "Refusal"})
REASON = re.compile(r"[A-Z][A-Za-z0-9]*")
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")

ROOMS = {
    conditions.SECTION.title: {"reconcile", "status", "cli", "compress", "sidecar"},
    resource.SECTION.title: {"api", "cli", "compress", "storage"},
    jobs.SECTION.title: {"cli", "compress", "storage", "server", "sidecar"},
    stores.SECTION.title: {"api", "cli", "compress", "storage"},
    candidates.SECTION.title: {"compress"},
    gate.SECTION.title: {"status", "compress", "reconcile"},
    sidecar.BYPASSED.title: {"sidecar"},
    sidecar.REFUSED.title: {"sidecar"},
    commands.SECTION.title: {"cli"},
}
"""Folders below modelpress that give the reasons of a section: one word may mean two things in two places."""


GENERATIONS = 3
"""How deep classes of errors are derived from each other, at most."""


class Use(NamedTuple):
    """Where the code gives a reason."""

    reason: str
    room: str
    place: str


class Source:
    """One module, or the text of one."""

    def __init__(self, text: str, place: str = "api/example.py") -> None:
        self.tree = ast.parse(text)
        self.place = place
        self.room = place.split("/")[0]
        self.takers = dict(takers(self.tree))
        self.constants = dict(constants(self.tree))


def sources() -> list[Source]:
    files = [path for path in PACKAGE.rglob("*.py") if not path.name.endswith("_pb2.py") and TABLE not in path.parents]
    return [Source(path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix()) for path in sorted(files)]


def takers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Callables that take a reason, and its position in a call. By keyword it is found without them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "__init__":
            names = parameters(node)
        elif isinstance(node, ast.ClassDef):
            made = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
            fields = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
            names = parameters(made[0]) if made else [one.id for one in fields if isinstance(one, ast.Name)]
        else:
            continue
        yield from ((node.name, names.index(name)) for name in NAMES if name in names)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    return names[1:] if names[:1] == ["self"] else names


def constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Text constants of a module and of its enumerations."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from ((one.id, node.value.value) for one in node.targets if isinstance(one, ast.Name))


def given(source: Source, classes: dict[str, int]) -> Iterator[ast.expr]:
    """Expressions that are passed or kept as reasons."""
    positions = {**classes, **source.takers}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield from (keyword.value for keyword in node.keywords if keyword.arg in NAMES)
            position = positions.get(called(node.func))
            yield from node.args[position : position + 1] if position is not None else ()
        elif isinstance(node, ast.ClassDef):
            yield from inherited(node, classes)
            if node.name in ENUMERATIONS:
                yield from (one.value for one in node.body if isinstance(one, ast.Assign))
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from (value for key, value in pairs if isinstance(key, ast.Constant) and key.value in NAMES)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id in NAMES:
            yield from [node.value] if node.value else []
        elif isinstance(node, ast.Assign):
            yield from assigned(node)


def called(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def inherited(node: ast.ClassDef, classes: dict[str, int]) -> Iterator[ast.expr]:
    """What the classes made from one that takes a reason pass to it."""
    position = next((classes[called(base)] for base in node.bases if called(base) in classes), None)
    for call in ast.walk(node) if position is not None else ():
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
            yield from call.args[position : position + 1]


def assigned(node: ast.Assign) -> Iterator[ast.expr]:
    for target in node.targets:
        if isinstance(target, ast.Name) and target.id in NAMES:
            yield node.value
        elif isinstance(target, ast.Tuple):
            places = [at for at, one in enumerate(target.elts) if isinstance(one, ast.Name) and one.id in NAMES]
            values = [one for one in branches(node.value) if isinstance(one, ast.Tuple)]
            yield from (value.elts[at] for value in values for at in places)


def branches(expression: ast.expr) -> Iterator[ast.expr]:
    """All values that an expression may take, one by one."""
    if isinstance(expression, ast.IfExp):
        yield from branches(expression.body)
        yield from branches(expression.orelse)
    elif isinstance(expression, ast.BoolOp):
        for value in expression.values:
            yield from branches(value)
    else:
        yield expression


def heirs(modules: list[Source], classes: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Classes that are made like the one they are derived from."""
    for node in (node for module in modules for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)):
        has_own = any(isinstance(one, ast.FunctionDef) and one.name == "__init__" for one in node.body)
        positions = [classes[called(base)] for base in node.bases if called(base) in classes]
        if positions and not has_own:
            yield node.name, positions[0]


def expressions(modules: list[Source]) -> Iterator[tuple[Source, ast.expr]]:
    classes = {name: at for module in modules for name, at in module.takers.items() if name[0].isupper()}
    for _ in range(GENERATIONS):
        classes |= dict(heirs(modules, classes))
    for module in modules:
        for whole in given(module, classes):
            yield from ((module, one) for one in branches(whole))


def uses(modules: list[Source]) -> list[Use]:
    """Reasons as they are written, alone or by a constant; what is passed on (`error.reason`) has its use elsewhere."""
    known = {name: text for module in modules for name, text in module.constants.items() if CONSTANT.fullmatch(name)}
    found = []
    for module, expression in expressions(modules):
        name = called(expression)
        text = expression.value if isinstance(expression, ast.Constant) else module.constants.get(name, known.get(name))
        if isinstance(text, str) and REASON.fullmatch(text):
            found.append(Use(text, module.room, f"{module.place}:{expression.lineno}"))
    return found


@pytest.fixture(scope="module")
def code() -> list[Source]:
    return sources()


@pytest.fixture(scope="module")
def used(code) -> list[Use]:
    return uses(code)


def test_every_reason_that_the_code_gives_has_a_cause_and_a_cure(used):
    listed = {(row.name, room) for section in page.SECTIONS for row in section.rows for room in ROOMS[section.title]}
    missing = defaultdict(list)
    for use in used:
        if (use.reason, use.room) not in listed:
            missing[use.reason].append(use.place)
    assert dict(missing) == {}, "add a row to modelpress/api/reasons"


@pytest.mark.parametrize("section", page.SECTIONS, ids=lambda section: section.title)
def test_every_row_is_about_a_reason_that_the_code_gives(section, used):
    there = {use.reason for use in used if use.room in ROOMS[section.title]}
    assert [row.name for row in section.rows if row.name not in there] == []


@pytest.mark.parametrize("section", page.SECTIONS, ids=lambda section: section.title)
def test_rows_are_whole_sentences_and_come_once(section):
    names = [row.name for row in section.rows]
    assert len(set(names)) == len(names)
    for row in section.rows:
        assert row.where and "|" not in "".join(row), row.name
        assert row.cause[0].isupper() or row.cause[0] == "`", row.name
        assert row.cause.endswith(".") and row.cure.endswith("."), row.name


def test_no_reason_is_the_name_of_an_exception(code):
    """Such reasons can be in no table: they are as many as there are exceptions."""
    named = [
        f"{module.place}:{expression.lineno}"
        for module, expression in expressions(code)
        if ast.unparse(expression).endswith(".__name__") and module.room != "sidecar"
    ]
    assert named == []


@pytest.mark.parametrize(
    "text",
    [
        "class E(Exception):\n def __init__(self, reason, text): ...\nraise E('Odd', 'text')",
        "class E(Exception):\n def __init__(self, reason, text): ...\n"
        "class F(E):\n def __init__(self):\n  super().__init__('Odd', '')",
        "class Finding(NamedTuple):\n reason: str\n text: str\nyield_ = Finding(ODD, 'text')\nODD = 'Odd'",
        "def draft(type_, reason): ...\ndraft('Ready', 'Even' if fine else 'Odd')",
        "state, reason = ('True', 'Even') if fine else ('False', 'Odd')",
        "class Problem(NamedTuple):\n message: str\n reason: str = 'Odd'",
        "anything(reason=given or 'Odd')",
        "facts = {'reason': 'Odd'}",
        "class Refusal(StrEnum):\n ODD = 'Odd'",
    ],
)
def test_the_scan_finds_a_reason_however_it_is_given(text):
    assert "Odd" in {use.reason for use in uses([Source(text)])}
