"""Everyone who is measured, in the order of their turns."""

from __future__ import annotations

from functools import partial

from tests.bench import tcp
from tests.bench.contender import Contender
from tests.bench.rivals import RIVALS, Rival


def everyone(prototype: str | None) -> list[Contender]:
    return [forwarder(rival) for rival in RIVALS]


def forwarder(rival: Rival) -> Contender:
    return Contender(
        rival.name, tcp.FIGURES, partial(tcp.measure, rival), rival.missing, rival.note
    )
