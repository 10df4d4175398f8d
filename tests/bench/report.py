"""What a run found: one entry for each figure and rival, as a table for people and as JSON.

Theory of operation. Each round leaves readings: who, which figure, how much. An entry compares the
median of our readings of a figure with the median of one rival's. Rivals of a figure are whoever
left readings of it; a fixed limit (`Figure.allowed`) is one more. A ratio above 1 always means
that we are better: figures of which less is better are turned over. What was not measured is null,
never zero.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from attrs import asdict, field, frozen

OURS = "trio-fabric"
ALLOWED = "allowed"
"""Stands where a rival's name would, before a limit that no rival is measured for."""

NOBODY = "nobody"
"""Stands where a rival's name would, where none could be measured here."""


class Reading(NamedTuple):
    """One measurement of one figure in one round, in the figure's unit."""

    who: str
    figure: str
    value: float


@frozen
class Figure:
    """`wanted` maps a rival to the least ratio that the project asks of itself."""

    name: str
    unit: str
    less_is_better: bool = False
    allowed: float | None = None
    wanted: Mapping[str, float] = field(factory=dict)


@frozen
class Entry:
    """One line of the table and one object of the JSON file."""

    name: str
    unit: str
    value: float | None
    rival: str
    rival_value: float | None
    ratio: float | None
    note: str


def ratio(figure: Figure, ours: float | None, theirs: float | None) -> float | None:
    """Above 1 where ours is the better one; None where one is missing or nothing divides."""
    if ours is None or theirs is None:
        return None
    above, below = (theirs, ours) if figure.less_is_better else (ours, theirs)
    return above / below if below > 0 else None


def entries(
    figures: Sequence[Figure], readings: Iterable[Reading], notes: Mapping[str, str]
) -> list[Entry]:
    """In the order of `figures`, rivals in the order of their first reading."""
    medians = _medians(readings)
    rows = []
    for figure in figures:
        taken = dict(medians.get(figure.name, {}))
        ours = taken.pop(OURS, None)
        if figure.allowed is not None and ours is not None:
            taken[ALLOWED] = figure.allowed
        if not taken and ours is not None:
            rows.append(Entry(figure.name, figure.unit, ours, NOBODY, None, None, ""))
        for rival, theirs in taken.items():
            better = ratio(figure, ours, theirs)
            note = "; ".join(filter(None, (verdict(figure, rival, better), notes.get(rival, ""))))
            rows.append(Entry(figure.name, figure.unit, ours, rival, theirs, better, note))
    return rows


def verdict(figure: Figure, rival: str, better: float | None) -> str:
    """Whether the ratio that the project wants is reached; empty where it wants none."""
    wanted = 1.0 if rival == ALLOWED else figure.wanted.get(rival)
    if wanted is None or better is None:
        return ""
    return f"{'reached' if better >= wanted else 'SHORT'}: {wanted:g} wanted"


def _medians(readings: Iterable[Reading]) -> dict[str, dict[str, float]]:
    taken: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for who, figure, value in readings:
        taken[figure][who].append(value)
    return {
        figure: {who: statistics.median(values) for who, values in by_whom.items()}
        for figure, by_whom in taken.items()
    }


COLUMNS = ("figure", "unit", OURS, "rival", "rival's", "ratio", "note")
LEFT_ALIGNED = {"figure", "unit", "rival", "note"}


def table(rows: Sequence[Entry], notes: Mapping[str, str]) -> str:
    """Text with aligned columns; a figure's name stands once, and a rival's note once, below."""
    lines, before = [COLUMNS], ""
    for row in rows:
        is_same, before = row.name == before, row.name
        head = ("", "", "") if is_same else (row.name, row.unit, number(row.value))
        told = row.note.removesuffix(notes.get(row.rival, "")).removesuffix("; ")
        lines.append((*head, row.rival, number(row.rival_value), number(row.ratio), told))
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    rivals = dict.fromkeys(row.rival for row in rows)
    below = [f"{rival}: {notes[rival]}" for rival in rivals if notes.get(rival)]
    return "\n".join([*(_aligned(line, widths) for line in lines), *below])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.ljust(width) if title in LEFT_ALIGNED else cell.rjust(width)
        for cell, width, title in zip(cells, widths, COLUMNS, strict=True)
    )
    return "  ".join(padded).rstrip()


def number(value: float | None) -> str:
    """Three digits that mean something; more would be noise."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def write_json(path: Path, rows: Sequence[Entry]) -> None:
    """A list of objects whose keys are the attributes of `Entry`; replaces the file whole."""
    told = [{key: _rounded(value) for key, value in asdict(row).items()} for row in rows]
    path.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")


def _rounded(value: object) -> object:
    return float(f"{value:.5g}") if isinstance(value, float) else value
