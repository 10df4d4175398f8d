"""Writes the reference pages that follow from the code: run it after adding a code."""

from __future__ import annotations

from pathlib import Path

from fabric.codes import Code

CODES_PAGE = Path(__file__).parent / "reference" / "codes.md"

_HEAD = """\
# Codes

Every reason a fabric gives for saying no or letting go. The name is the same in logs, in counters
(as a label), in what commands print and, as its number, on the wire. Numbers are never reused;
those below 16 are the QUIC driver's own. Written by `docs/generate.py` from `fabric/codes.py`.

| number | code | what happened | what to do |
|---|---|---|---|
"""


def codes_page() -> str:
    """The page of all codes, in Markdown."""
    rows = [
        f"| {code.value} | `{code.label}` | {code.sentence} | {code.remedy} |\n" for code in Code
    ]
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    CODES_PAGE.write_text(codes_page())
