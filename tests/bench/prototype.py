"""A prototype of the driver as a rival: its own programs are run, and what they print is read."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Set
from functools import partial
from pathlib import Path

from attrs import field, frozen

from tests.bench.catalogue import PROTOTYPE
from tests.bench.contender import Contender
from tests.bench.processes import Room
from tests.bench.report import Reading

WITHIN = 60.0
"""Seconds for a program beyond those that its work should take; it waits out its own timers."""


@frozen
class Run:
    """`call` is a program and its words, `{}` standing for an amount of work, not of time.

    `per_second` is how much of it two cores do in about a second.
    """

    figure: str
    call: str
    per_second: int
    printed: str
    env: Mapping[str, str] = field(factory=dict)

    def command(self, folder: Path, seconds: float) -> list[str]:
        program, *words = self.call.format(round(self.per_second * seconds)).split()
        return [sys.executable, str(folder / program), *words]

    def read(self, told: str) -> float:
        """Raises ValueError where the figure was not printed."""
        found = re.search(self.printed, told)
        if found is None:
            raise ValueError(f"{self.call} printed no figure: {told.strip()[-200:]}")
        return float(found[1])


RATE, COUNT = r"([\d.]+) MB/s", r"(\d+)/s p50"
TOGETHER = {"DELAY": "auto"}
"""Its pump sends for tasks that were woken together: its best with many in flight."""

RUNS = (
    Run("quic.bulk_1452", "bulk.py 1452 1 1 {}", 500, RATE),
    Run("quic.bulk_1200", "bulk.py 1200 1 1 {}", 400, RATE),
    Run("quic.requests_1", "rr.py {} 1", 4000, COUNT),
    Run("quic.requests_32", "rr.py {} 32", 12_000, COUNT, TOGETHER),
    Run("quic.handshakes_16", "hs.py {} 16", 1000, COUNT),
)
FIGURES = frozenset(run.figure for run in RUNS)


def contender(folder: str) -> Contender:
    where = Path(folder).absolute()
    is_here = (where / "bulk.py").exists()
    return Contender(
        PROTOTYPE,
        FIGURES,
        partial(measure, where),
        lambda: "" if is_here else f"{where}/bulk.py not found; PROTOTYPE names the folder",
        "its handshakes are mutual TLS, without a Hello",
    )


def measure(folder: Path, wanted: Set[str], seconds: float) -> Iterator[Reading]:
    for run in RUNS:
        if run.figure in wanted:
            with Room() as room:
                command = run.command(folder, seconds)
                told = room.output(*command, within=2 * seconds + WITHIN, env=run.env)
            yield Reading(PROTOTYPE, run.figure, run.read(told))
