"""The scenarios by name, and runs of one over several seeds, in several processes if asked."""

from __future__ import annotations

import functools
import gc
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

from attrs import evolve

from fabric.testing.sim.flood import flood
from fabric.testing.sim.papers import Papers
from fabric.testing.sim.restarts import restarts
from fabric.testing.sim.results import Result
from fabric.testing.sim.scenarios import death, partition, pause, steady, wave
from fabric.testing.sim.setting import Setting

SCENARIOS: Final[Mapping[str, Callable[[Setting, Papers], Result]]] = MappingProxyType(
    {each.__name__: each for each in (wave, partition, death, pause, restarts, steady, flood)}
)


def run(name: str, setting: Setting, seeds: Sequence[int], *, jobs: int = 1) -> list[Result]:
    """Return what scenario *name* finds with each of *seeds*, in their order.

    In *jobs* processes at once: the results are the same.
    """
    one = functools.partial(_one, name, setting)
    if jobs == 1 or len(seeds) == 1:
        return [one(seed) for seed in seeds]
    with multiprocessing.get_context("spawn").Pool(min(jobs, len(seeds))) as pool:
        return pool.map(one, seeds, chunksize=1)


def _one(name: str, setting: Setting, seed: int) -> Result:
    with _undisturbed():
        return SCENARIOS[name](evolve(setting, seed=seed), _papers())


@functools.cache
def _papers() -> Papers:
    """Return what is signed, and was verified, once in a process: it depends on no seed."""
    return Papers()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Collect no garbage meanwhile: a fleet is millions of objects, and all of them live."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
