"""What three strangers cost whoever carries a transfer, and what it may be."""

from __future__ import annotations

from time import monotonic

import pytest
from attrs import frozen

from tests.lab.rates import OTHERS
from tests.lab.tcp_ends import MIB

QUIET_S = 3.0
ATTACK_S = 8.0
KNOWN_WITHIN = 2.0
"""Seconds for somebody known to be connected meanwhile."""

MAY_GROW = 20 * MIB

TRIES = 3
"""Times that the rate is measured before it counts as halved: five processes on two cores share
them differently each time, by a fifth and more. Where a guard is missing the rate is nothing."""

PER_SECOND = {"mutate": 20_000, "initials": 2_000, "handshakes": 50}
"""What each stranger is to do. They give way to whom they attack (`nice`), since their own work is
not of the attack."""

WORTH_IT = 0.6
"""Of that each has to come to: an attack at half of the rate would prove nothing."""


@frozen
class Outcome:
    """What the transfer kept, what the attacked process grew by, and how a known peer fared."""

    quiet_rate: float
    attacked_rate: float
    grown: int
    known_s: float
    others: float
    strangers: dict[str, float]
    """What each has done in a second."""
    broke_off: bool = False
    """Whether the transfer was reset before its end."""

    @property
    def kept(self):
        return self.attacked_rate / self.quiet_rate

    def __str__(self):
        return (
            f"{self.quiet_rate / 1e6:.0f} -> {self.attacked_rate / 1e6:.0f} MB/s "
            f"({self.kept:.0%}), +{self.grown / MIB:.1f} MiB, known peer in {self.known_s:.2f} s, "
            f"others {self.others:.2f} cores, {self.strangers}"
            f"{', broken off' * self.broke_off}"
        )


def begin_count(roles):
    """Return a function that tells what each of *roles*, by name, has done in a second since."""
    before, began = {name: role.done for name, role in roles.items()}, monotonic()

    def per_second():
        took = monotonic() - began
        return {name: round((role.done - before[name]) / took, 1) for name, role in roles.items()}

    return per_second


def has_survived(outcome):
    """Return whether the rate was kept. What may not happen even once is judged here."""
    assert not outcome.broke_off
    assert outcome.grown < MAY_GROW
    assert outcome.known_s < KNOWN_WITHIN
    if any(did < WORTH_IT * PER_SECOND[name] for name, did in outcome.strangers.items()):
        pytest.skip(f"the strangers did not come to their rates: {outcome.strangers}")
    if outcome.others > OTHERS and outcome.kept < 0.5:
        pytest.skip(f"others used {outcome.others:.1f} cores: nothing can be said about rates")
    return outcome.kept >= 0.5
