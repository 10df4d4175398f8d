"""What a scenario found, in figures that can be held against a target."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from attrs import frozen

from fabric.testing.sim.tally import Cost


class Unit(enum.StrEnum):
    """What a figure counts."""

    SECONDS = "s"
    BYTES_PER_SECOND = "B/s"
    PER_SECOND = "/s"
    COUNT = ""


@frozen
class Figure:
    """One number of one run."""

    name: str
    value: float
    """Infinite where what was waited for never came."""
    unit: Unit = Unit.COUNT
    below: float | None = None
    """What it should be below; ``None``: it is only shown."""
    most: float | None = None
    """What it should be at most."""

    @property
    def holds(self) -> bool:
        """Whether it is as it should be."""
        is_below = self.below is None or self.value < self.below
        return is_below and (self.most is None or self.value <= self.most)


class Result(Protocol):
    """What one run of one scenario found."""

    @property
    def seed(self) -> int: ...

    def figures(self) -> tuple[Figure, ...]:
        """Return the figures, the same ones in every run of a scenario."""


@frozen
class Played:
    """What a run found, and what it cost meanwhile."""

    found: Result
    cost: Cost

    @property
    def seed(self) -> int:
        return self.found.seed

    def figures(self) -> tuple[Figure, ...]:
        """Return those of the scenario, and what is counted of each."""
        cost = self.cost
        return (
            *self.found.figures(),
            Figure("all of it took", cost.seconds, Unit.SECONDS),
            Figure("messages sent per node in it", cost.frames),
            Figure("bytes sent per node in it", cost.bytes_out),
        )


@frozen
class Line:
    """One figure over all seeds. A target has to hold for :attr:`p99`."""

    name: str
    unit: Unit
    p50: float
    p99: float
    worst: float
    worst_seed: int
    below: float | None
    most: float | None

    @property
    def holds(self) -> bool | None:
        """Whether it is as it should be; ``None`` where nothing is asked of it."""
        if self.below is None and self.most is None:
            return None
        return Figure(self.name, self.p99, self.unit, self.below, self.most).holds


def summed_up(results: Sequence[Result]) -> list[Line]:
    """Return a line for each figure of *results*, which are of one scenario."""
    rows = [each.figures() for each in results]
    seeds = [each.seed for each in results]
    return [_line(column, seeds) for column in zip(*rows, strict=True)]


def _line(column: Sequence[Figure], seeds: Sequence[int]) -> Line:
    first = column[0]
    values = [each.value for each in column]
    worst = max(values)
    return Line(
        name=first.name,
        unit=first.unit,
        p50=quantile(values, 0.5),
        p99=quantile(values, 0.99),
        worst=worst,
        worst_seed=seeds[values.index(worst)],
        below=first.below,
        most=first.most,
    )


def quantile(values: Iterable[float], share: float) -> float:
    """Return the least of *values* that *share* of them do not exceed; infinite for none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.inf
