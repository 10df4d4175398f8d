"""docs/reference/cli.md and the README know every command and option, and no others."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from cli import fabric_inspect, fabricctl

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs/reference/cli.md").read_text()
COMMANDS = {
    name: fabricctl.app[name].default_command for name in fabricctl.app if not name.startswith("-")
}


def _options(function):
    return {
        "--" + one.name.replace("_", "-")
        for one in inspect.signature(function).parameters.values()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    } - {"--json"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_described_with_each_of_its_options(name):
    row = re.search(rf"^\| `{name}[ `].*", REFERENCE, re.MULTILINE)[0]
    for option in _options(COMMANDS[name]):
        assert option in row


def test_no_command_is_described_that_does_not_exist():
    section = REFERENCE.partition("## fabricctl")[2].partition("## ")[0]
    assert set(re.findall(r"^\| `([a-z]+)", section, re.MULTILINE)) == set(COMMANDS)


def test_the_inspectors_options_are_described():
    section = REFERENCE.partition("## fabric-inspect")[2]
    for option in _options(fabric_inspect.inspect):
        assert f"`{option}" in section


def test_every_command_takes_json():
    for function in [*COMMANDS.values(), fabric_inspect.inspect]:
        assert "json" in inspect.signature(function).parameters


@pytest.mark.parametrize("path", ["README.md", "docs/tutorials/first-fabric.md"])
def test_what_a_reader_is_told_to_type_exists(path):
    typed = re.findall(r"fabricctl ([a-z]+)([^\n`]*)", (ROOT / path).read_text())
    assert typed
    for name, rest in typed:
        assert set(re.findall(r"--[a-z-]+", rest)) <= _options(COMMANDS[name]) | {"--json"}


@pytest.mark.parametrize("path", ["README.md", "docs/tutorials/first-fabric.md"])
def test_links_lead_to_files(path):
    text = (ROOT / path).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert ((ROOT / path).parent / target).exists(), target
