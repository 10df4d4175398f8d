"""`cache.*`: how soon a restarted node can use 10,000 records that only its disk knows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Set
from functools import partial

from tests.bench.catalogue import JSON_ROWS
from tests.bench.contender import Contender
from tests.bench.processes import Room
from tests.bench.report import OURS, Reading

WITHIN = 60.0
"""Seconds for one program: making and signing the records takes three."""

LOAD, USABLE = "cache.load_10k", "cache.usable_10k"


def contenders() -> list[Contender]:
    return [
        Contender(OURS, frozenset({LOAD}), partial(measure, OURS, "cache")),
        Contender(JSON_ROWS, frozenset({LOAD}), partial(measure, JSON_ROWS, "json")),
        Contender(OURS, frozenset({USABLE}), partial(measure, OURS, "node")),
    ]


def notes() -> dict[str, str]:
    return {JSON_ROWS: "a table of JSON documents, read without looking whether the file is whole"}


def measure(who: str, reader: str, wanted: Set[str], _seconds: float) -> Iterator[Reading]:
    """The records are made anew each time, by a process that then ends: nothing is warm."""
    call = (sys.executable, "-m", "tests.bench.cold_disk")
    with Room() as room:
        room.output(*call, "make", room.folder, within=WITHIN)
        told = json.loads(room.output(*call, reader, room.folder, within=WITHIN))
    for figure, value in told.items():
        if figure in wanted:
            yield Reading(who, figure, value)
