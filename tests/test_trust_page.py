"""The page about trust claims nothing without a test that is there, or the word that it is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explanation" / "trust.md"
TEXT = PAGE.read_text()

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NOT_BUILT = "not built yet"


@cache
def defined_in(path: str) -> dict[str, ast.AST]:
    """Return the functions in the file *path*, by name; nothing is run."""
    if not (ROOT / path).exists():
        return {}
    tree = ast.parse((ROOT / path).read_text())
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name: node for node in ast.walk(tree) if isinstance(node, kinds)}


def is_left_out(test: ast.AST) -> bool:
    """Return whether *test* is skipped, or may fail."""
    return any(
        re.search(r"\b(skip|skipif|xfail)\b", ast.unparse(each)) for each in test.decorator_list
    )


def cells(line: str) -> list[str]:
    return [each.strip() for each in line.strip().strip("|").split("|")]


def tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield the head and the rows of each table."""
    for found in re.finditer(r"^(\|.+\n)\|(?:-+\|)+\n((?:\|.+\n)*)", text, re.M):
        yield cells(found[1]), [cells(line) for line in found[2].splitlines()]


def unproved(text: str) -> list[str]:
    """Return the claims that have neither a test nor the word that the thing does not exist."""
    claims = [row for head, rows in tables(text) if head[-1] == "proof" for row in rows]
    return [
        " | ".join(row[:-1])
        for row in claims
        if not NAMED.search(row[-1]) and NOT_BUILT not in row[-1]
    ]


def sections(text: str) -> dict[str, str]:
    """Return the text below each heading, by the fragment that leads there."""
    parts = re.split(r"^## (.+)\n", text, flags=re.M)
    return {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-"): below
        for title, below in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_every_test_that_is_named_is_there_and_is_run():
    named = sorted(set(NAMED.findall(TEXT)))
    missing = [f"{path}::{name}" for path, name in named if name not in defined_in(path)]
    assert missing == []
    assert [name for path, name in named if is_left_out(defined_in(path)[name])] == []
    assert all(name.startswith("test_") for _path, name in named)


def test_every_name_that_looks_like_a_test_is_read_as_one():
    assert len(re.findall(r"::", TEXT)) == len(NAMED.findall(TEXT))


def test_no_claim_is_without_proof():
    assert unproved(TEXT) == []


def test_everybody_in_the_threat_model_has_a_table_of_claims():
    heads, rows = next((head, rows) for head, rows in tables(TEXT) if head[0] == "who")
    assert heads == ["who", "can", "cannot"]
    linked = [re.search(r"\]\(#([\w-]+)\)", row[0]) for row in rows]
    below = [sections(TEXT).get(link[1], "") if link else "" for link in linked]
    without = [
        row[0]
        for row, text in zip(rows, below, strict=True)
        if not any(head[-1] == "proof" and rows for head, rows in tables(text))
    ]
    assert without == []


def test_a_claim_without_proof_would_be_noticed():
    page = "| | | proof |\n|---|---|---|\n| cannot | fly | |\n| cannot | swim | not built yet |\n"
    assert unproved(page) == ["cannot | fly"]
