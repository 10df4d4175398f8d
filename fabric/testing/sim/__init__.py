"""A seeded simulation of many whole nodes: every core of each, in virtual time, in any weather.

::

    scenarios, flood     what is done to a fabric, and what came of it
        |
    fleet                the nodes; start, stop, pause, part; what is seen of them
        |
    node (dials)         the cores of one node, and what carries out their effects
        |
    net (wire, weather)  handshakes and streams over lossy datagrams, silence, partitions
        |
    clockwork            what is due, in order

Nothing here waits, reads a clock or draws from anything but the seed, so that a run can be played
again to the byte. What the model leaves out stands in :mod:`.wire`, :mod:`.node` and
``docs/explanation/simulation.md``.
"""

from __future__ import annotations

from fabric.testing.sim.fleet import Fleet
from fabric.testing.sim.papers import Papers
from fabric.testing.sim.results import Figure, Line, Result, Unit, summed_up
from fabric.testing.sim.runs import SCENARIOS, Runs, play
from fabric.testing.sim.setting import Setting
from fabric.testing.sim.weather import Weather

__all__ = [
    "SCENARIOS",
    "Figure",
    "Fleet",
    "Line",
    "Papers",
    "Result",
    "Runs",
    "Setting",
    "Unit",
    "Weather",
    "play",
    "summed_up",
]
