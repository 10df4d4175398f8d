"""`records.*`: how many new records a second one core of a node takes in."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Set

from tests.bench.contender import Contender
from tests.bench.processes import Room
from tests.bench.report import OURS, Reading

FIGURES = frozenset({"records.judged", "records.by_wave", "records.by_page"})
WITHIN = 120.0
"""Seconds for one task: making and signing the records takes three."""


def contenders() -> list[Contender]:
    return [Contender(OURS, FIGURES, measure)]


def measure(wanted: Set[str], _seconds: float) -> Iterator[Reading]:
    for figure in sorted(FIGURES & wanted):
        with Room() as room:
            told = room.output(
                sys.executable, "-m", "tests.bench.taking_in", figure, within=WITHIN
            )
        yield Reading(OURS, figure, json.loads(told)[figure])
