"""The reference pages say what the code does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from attrs import NOTHING, fields

from cli.exit_codes import Exit
from fabric.config import (
    AdminConfig,
    ListenerConfig,
    LogConfig,
    NodeConfig,
    QuicConfig,
    ServiceConfig,
)
from fabric.config.schema import TABLES

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(
    [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md"), *DOCS.parent.glob("fabric/**/*.md")]
)
MODELS = {
    "[node]": NodeConfig,
    "[quic]": QuicConfig,
    "[admin]": AdminConfig,
    "[log]": LogConfig,
    "[services.NAME]": ServiceConfig,
    "[[listeners]]": ListenerConfig,
}


def test_the_page_of_codes_is_current():
    generate = runpy.run_path(str(DOCS / "generate.py"))
    page = generate["CODES_PAGE"].read_text()
    assert page == generate["codes_page"](), "run: .venv/bin/python docs/generate.py"


def shown_default(model: type, key) -> str:
    """The default of *key* as the page writes it."""
    default = next(one.default for one in fields(model) if one.name == key.setting)
    if default is NOTHING:
        return "required"
    if hasattr(default, "factory"):
        default = default.factory()
    match default:
        case None:
            return "none"
        case bool():
            return f"`{str(default).lower()}`"
        case float() | int():
            return f"`{default:g}`"
        case dict():
            return "`{}`"
        case frozenset() | tuple():
            return "`[]`"
    return f'`"{default}"`'


@pytest.mark.parametrize(("header", "keys"), list(zip(MODELS, TABLES.values(), strict=True)))
def test_the_page_of_settings_has_every_setting_with_its_default(header, keys):
    page = (DOCS / "reference" / "configuration.md").read_text()
    section = page.partition(f"## `{header}`\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \| [^|]+ \|$", section, re.M)
    assert rows == [(key.name, shown_default(MODELS[header], key)) for key in keys]


def test_the_page_of_exit_codes_has_all_of_them():
    page = (DOCS / "reference" / "exit-codes.md").read_text()
    assert re.findall(r"^\| (\d+) \| ([a-z]+)", page, re.M) == [
        (str(code.value), code.name.lower()) for code in Exit
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_pages_name_only_what_exists(page):
    named = set(
        re.findall(r"`((?:fabric|services|cli|conf|docs|tests)/[a-z_/.-]*)`", page.read_text())
    )
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    missing = [path for path in named if not (DOCS.parent / path).exists()]
    missing += [path for path in linked if not (page.parent / path).exists()]
    assert missing == []
