"""The scenarios by name, and runs of them over several seeds, each in a process of its own.

A fabric is made and warmed up once. For each seed the process forks, and the child goes on with
the same fabric and dice of its own: what is drawn from the seed is all that happens from then on.
"""

from __future__ import annotations

import gc
import os
import pickle
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

from attrs import define, field

from fabric.testing.sim.fleet import Fleet
from fabric.testing.sim.flood import flood
from fabric.testing.sim.restarts import restarts
from fabric.testing.sim.results import Played, Result
from fabric.testing.sim.scenarios import death, partition, pause, steady, wave
from fabric.testing.sim.setting import Setting

SCENARIOS: Final[Mapping[str, Callable[[Fleet, Setting], Result]]] = MappingProxyType(
    {each.__name__: each for each in (wave, partition, death, pause, restarts, steady, flood)}
)


def play(name: str, fleet: Fleet, setting: Setting, seed: int) -> Played:
    """Return what scenario *name* finds with *seed* in a warm *fleet*, which it uses up."""
    fleet.reseed(seed)
    began, mark = fleet.now, fleet.net.tally.mark()
    found = SCENARIOS[name](fleet, setting)
    return Played(found, fleet.net.tally.since(mark).cost(fleet.ids, fleet.now - began))


@define(eq=False)
class Runs:
    """Any number of runs, all of which begin with one warm fabric."""

    setting: Setting
    jobs: int = 1
    """Seeds that are played at once. The results are the same."""
    on_begin: Callable[[str, int], None] = lambda _name, _seed: None
    """Told of each run as it begins."""
    _fleet: Fleet = field(init=False)

    def __attrs_post_init__(self) -> None:
        with _undisturbed():
            self._fleet = self.setting.warm_fleet()

    def play(self, name: str, seeds: Sequence[int]) -> list[Played]:
        """Return what scenario *name* finds with each of *seeds*, in their order."""
        results: list[Played] = []
        running: deque[tuple[int, int]] = deque()
        with _undisturbed():
            for seed in seeds:
                if len(running) == self.jobs:
                    results.append(_result_of(*running.popleft()))
                self.on_begin(name, seed)
                running.append(self._begin(name, seed))
            results += (_result_of(*each) for each in running)
        return results

    def _begin(self, name: str, seed: int) -> tuple[int, int]:
        """Fork; return the child's id, and where it says what it has found."""
        reads, writes = os.pipe()
        if child := os.fork():
            os.close(writes)
            return child, reads
        status = 1
        try:
            result = pickle.dumps(play(name, self._fleet, self.setting, seed))
            with os.fdopen(writes, "wb") as out:
                out.write(result)
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)  # nothing of the parent's is the child's to clean up


def _result_of(child: int, reads: int) -> Played:
    with os.fdopen(reads, "rb") as found:
        packed = found.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"a run ended with status {status}")
    result: Played = pickle.loads(packed)
    return result


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Collect no garbage meanwhile: a fleet is millions of objects, and all of them live."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
