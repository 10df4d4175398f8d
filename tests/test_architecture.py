"""The design rules that import-linter cannot see, as tests: the core decides, it does not act."""

import ast
from pathlib import Path

import pytest

import fabric

ROOT = Path(fabric.__file__).parent.parent
PACKAGES = ("fabric", "services", "cli")
CORE = sorted((ROOT / "fabric" / "core").rglob("*.py"))
EVERY = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

FORBIDDEN = {
    "asyncio": "the core never waits",
    "datetime": "time arrives as `now`",
    "logging": "the shell logs the effects it carries out",
    "os": "the core touches no file, process or entropy",
    "pathlib": "the core touches no file",
    "secrets": "entropy arrives as bytes or as an `rng`",
    "select": "the core never waits",
    "socket": "bytes arrive as events",
    "ssl": "bytes arrive decrypted",
    "structlog": "the shell logs the effects it carries out",
    "subprocess": "the core starts nothing",
    "threading": "the core never waits",
    "time": "time arrives as `now`",
    "trio": "the core never waits",
    "uuid": "entropy arrives as bytes or as an `rng`",
}
MOST_LINES = 600


def breaches(source: str) -> list[str]:
    """Return every way in which a module of the core does more than decide."""
    found = []
    for node in ast.walk(ast.parse(source)):
        found += [
            f"line {node.lineno}: imports {module}: {FORBIDDEN[root]}"
            for module in _imported(node)
            if (root := module.partition(".")[0]) in FORBIDDEN
        ]
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncWith() | ast.AsyncFor():
                found.append(f"line {node.lineno}: the core never waits")
            case ast.ImportFrom(module="random", names=names):
                found += [f"line {node.lineno}: import random itself" for _ in names]
            case ast.Attribute(value=ast.Name(id="random"), attr=attr) if attr != "Random":
                found.append(f"line {node.lineno}: random.{attr}: an `rng` is passed in")
            case ast.Call(func=ast.Name(id="open" | "print" | "input" | "__import__" as name)):
                found.append(f"line {node.lineno}: calls {name}()")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="random"), attr="Random"), args=[]):
                found.append(f"line {node.lineno}: an unseeded Random is entropy")
    return found


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module)):
            return [module]
    return []


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_the_core_is_sans_io(path: Path) -> None:
    assert not breaches(path.read_text())


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "import trio.abc",
        "from os import urandom",
        "def f():\n    from time import monotonic",
        "from datetime import datetime",
        "import random\nrandom.choice([1])",
        "import random\nrng = random.Random()",
        "from random import shuffle",
        "async def receive(): ...",
        "open('/etc/hosts')",
        "print('x')",
    ],
)
@pytest.mark.parametrize("path", CORE[:1], ids=["core"])
def test_a_core_that_acts_would_be_caught(path: Path, line: str) -> None:
    assert breaches(f"{path.read_text()}\n{line}\n")


def test_a_random_that_is_passed_in_is_no_breach() -> None:
    assert not breaches("import random\ndef f(rng: random.Random): return rng.random()")


def test_there_is_a_core_to_look_at() -> None:
    assert len(CORE) > 10
    assert len(EVERY) > len(CORE)


@pytest.mark.parametrize("path", EVERY, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_in_no_more_than_600_lines(path: Path) -> None:
    source = path.read_text()

    assert ast.get_docstring(ast.parse(source)), "the first line says what the module is"
    assert source.count("\n") <= MOST_LINES


VAGUE = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}


@pytest.mark.parametrize("path", EVERY, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_or_class_has_a_name_that_says_nothing(path: Path) -> None:
    named = [path.stem]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            named.append(node.name)

    vague = [name for name in named if VAGUE & set(_words(name))]
    assert not vague


def _words(name: str) -> list[str]:
    spaced = "".join(f" {c.lower()}" if c.isupper() else c for c in name)
    return spaced.replace("_", " ").split()
