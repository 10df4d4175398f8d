"""Everyone who is measured, in the order of their turns."""

from __future__ import annotations

from functools import partial

from tests.bench import quic, tcp
from tests.bench.contender import Contender
from tests.bench.rivals import RIVALS, Rival


def everyone(prototype: str | None) -> list[Contender]:
    return [*quic.contenders(prototype), quic.own_bulk(), *map(forwarder, RIVALS)]


def forwarder(rival: Rival) -> Contender:
    figures = tcp.FIGURES - {"ingress.share_of_quic"}
    return Contender(rival.name, figures, partial(tcp.measure, rival), rival.missing, rival.note)
