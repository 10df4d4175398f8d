"""The page about trust claims nothing without a test that is there, or the word that it is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fabric.core import records
from fabric.core.budgets import WINDOW, WINDOW_BURST
from fabric.core.correspondents import CHECKED
from fabric.core.directory import MOST_KEYS, MOST_LEAP, MOST_UNKNOWN_WORDS
from fabric.core.exchange import GIVEN, GIVEN_BURST, ROUNDS
from fabric.core.gossip_events import Stream
from fabric.core.intake import BARRED_FOR
from fabric.core.lifetimes import SURVIVAL_GRACE
from fabric.core.records import DAY, NodeRecord, OwnWord
from fabric.core.rumours import CHECKS_PER_SECOND
from fabric.core.waiting import MOST_OF_ONE, MOST_WAITING
from fabric.core.wave import PACE
from fabric.runtime.outbox import MOST_BYTES
from fabric.runtime.peers import MOST_LINKS
from fabric.trio_quic import Settings

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


def test_the_figures_are_those_of_the_code():
    limits, days = Settings(), {NodeRecord.LIFE // DAY, OwnWord.LIFE // DAY, SURVIVAL_GRACE // DAY}
    assert days == {90, 7, 30}
    assert BARRED_FOR == 600
    figures = [
        f"{limits.retry_above} handshakes in flight, {limits.retry_rate} a second",
        f"{limits.stranger_cap} connections, {limits.stranger_cap_per_prefix} of one",
        f"{limits.stranger_cap_known} more are kept",
        f"{limits.handshake_timeout:g} s, {limits.stranger_bytes >> 10} KiB, one stream",
        f"{CHECKED[Stream.CONTROL]:g} signatures verified a second",
        f"{CHECKED[Stream.SYNC]:g} a second",
        f"{WINDOW_BURST} changes of a kind at once, then one in {WINDOW:g} s",
        f"{MOST_UNKNOWN_WORDS} at once, then one in {WINDOW:g} s",
        f"{MOST_KEYS:,} keys in the directory; {MOST_UNKNOWN_WORDS} of one node",
        f"{records.MOST_BYTES >> 10} KiB; a node's own word {records.MOST_OWN_BYTES >> 10} KiB",
        f"no leap over {MOST_LEAP:,} at once",
        f"{PACE:g} records a second passed on in waves",
        f"{MOST_WAITING} records wait, {MOST_OF_ONE} of one peer",
        f"{MOST_LINKS} connections",
        f"{MOST_BYTES >> 10} KiB of records that wait",
        f"{CHECKS_PER_SECOND:g} signatures a second",
        f"{ROUNDS:g} rounds a second begun, {int(GIVEN) >> 10} KiB a second given",
        f"{int(GIVEN_BURST) >> 20} MiB at once",
    ]
    assert [each for each in figures if each not in TEXT] == []


def test_a_claim_without_proof_would_be_noticed():
    page = "| | | proof |\n|---|---|---|\n| cannot | fly | |\n| cannot | swim | not built yet |\n"
    assert unproved(page) == ["cannot | fly"]
