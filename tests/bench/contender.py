"""Who takes part in a run, and the rounds in which all of them are measured by turns."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence, Set

import psutil
from attrs import field, frozen

from tests.bench.processes import DidNotFinish, DidNotStart
from tests.bench.report import Reading

Measure = Callable[[Set[str], float], Iterable[Reading]]
"""Takes the wanted figures and the seconds for each load; starts all it needs, and ends it."""


@frozen
class Contender:
    """Ours or a rival. `figures` are those that it can leave readings of."""

    name: str
    figures: frozenset[str]
    measure: Measure
    missing: Callable[[], str] = field(default=str)
    note: str = ""
    rounds: int | None = None
    """Fewer rounds than asked for: a contender that is compared with nobody but itself."""


LEFT_OUT = (
    *(DidNotStart, DidNotFinish, OSError, ValueError, LookupError),
    *(psutil.Error, subprocess.SubprocessError),
)
"""What a measurement may raise without ending the run: told, and its readings are missing."""


def take_turns(
    contenders: Sequence[Contender],
    wanted: Set[str],
    *,
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> Iterator[Reading]:
    """A B C A B C: what drifts on the machine meanwhile drifts for all alike."""
    for turn in range(rounds):
        for contender in contenders:
            figures = wanted & contender.figures
            if not figures or turn >= (contender.rounds or rounds):
                continue
            say(f"round {turn + 1} of {rounds}: {contender.name}")
            try:
                yield from contender.measure(figures, seconds)
            except LEFT_OUT as fault:
                say(f"{contender.name}: left out of this round: {fault}")
