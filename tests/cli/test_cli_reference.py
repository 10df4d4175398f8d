"""docs/reference/cli.md and the README know every command and option, and no others."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_type_hints

import pytest

from cli import fabric_inspect, fabricctl

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "docs/tutorials/a-fabric-of-your-own.md",
    "docs/tutorials/first-fabric.md",
]
REFERENCE = (ROOT / "docs/reference/cli.md").read_text()


def _commands(app, *above):
    """Every command by the words that are typed, those of groups too."""
    for name in app:
        if not name.startswith("-"):
            words = (*above, name)
            yield from _commands(app[name], *words)
            if app[name].default_command:
                yield " ".join(words), app[name].default_command


COMMANDS = dict(_commands(fabricctl.app))


def _options(function):
    """The names as they are typed: a parameter's own, or those that it is given."""
    hints = get_type_hints(function, include_extras=True)
    return {
        name
        for one in inspect.signature(function).parameters.values()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
        for name in _typed(one.name, hints[one.name])
    } - {"--json"}


def _typed(name, hint):
    given = [
        each for parameter in getattr(hint, "__metadata__", ()) for each in parameter.name or ()
    ]
    return given or ["--" + name.replace("_", "-")]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_described_with_each_of_its_options(name):
    row = re.search(rf"^\| `{name}[ `].*", REFERENCE, re.MULTILINE)[0]
    for option in _options(COMMANDS[name]):
        assert option in row


def test_no_command_is_described_that_does_not_exist():
    section = REFERENCE.partition("## fabricctl")[2].partition("## fabric-inspect")[0]
    rows = re.findall(r"^\| `([a-z][^`]*)`", section, re.MULTILINE)
    assert sorted(_command(row)[0] for row in rows) == sorted(COMMANDS)


def _command(text):
    """The command that *text* begins with, and what follows it."""
    known = [name for name in COMMANDS if f"{text} ".startswith(f"{name} ")]
    assert known, text
    name = max(known, key=len)
    return name, text.removeprefix(name)


def test_the_inspectors_options_are_described():
    section = REFERENCE.partition("## fabric-inspect")[2]
    for option in _options(fabric_inspect.inspect):
        assert f"`{option}" in section


def test_every_command_takes_json():
    for function in [*COMMANDS.values(), fabric_inspect.inspect]:
        assert "json" in inspect.signature(function).parameters


@pytest.mark.parametrize("path", PAGES)
def test_what_a_reader_is_told_to_type_exists(path):
    typed = re.findall(r"fabricctl ([a-z][^\n`]*)", (ROOT / path).read_text())
    assert typed
    for name, rest in map(_command, typed):
        assert set(re.findall(r"--[a-z-]+", rest)) <= _options(COMMANDS[name]) | {"--json"}


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_to_files(path):
    text = (ROOT / path).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert ((ROOT / path).parent / target).exists(), target
