"""Everyone who is measured, in the order of their turns."""

from __future__ import annotations

from functools import partial

from tests.bench import own_nodes, quic, rest, tcp
from tests.bench.contender import Contender
from tests.bench.report import OURS
from tests.bench.rivals import RIVALS, Rival

AT_1200 = frozenset({"ingress.up_1_1200"})
OF_OURS_ALONE = frozenset({"ingress.share_of_quic"})


def everyone(prototype: str | None) -> list[Contender]:
    return [
        *quic.contenders(prototype),
        *own_paths(),
        *map(rival_path, RIVALS),
        *rest.contenders(),
    ]


def own_paths() -> list[Contender]:
    """Ours at both sizes of datagram, beside the driver alone."""
    return [
        own_path(tcp.FIGURES - AT_1200, datagram_bytes=1452),
        own_path(AT_1200, datagram_bytes=1200),
        quic.own_bulk(),
    ]


def own_path(figures: frozenset[str], *, datagram_bytes: int) -> Contender:
    path = Rival(OURS, partial(own_nodes.start_route, datagram_bytes=datagram_bytes))
    return Contender(OURS, figures, partial(tcp.measure, path))


def rival_path(rival: Rival) -> Contender:
    """A rival has one size of datagram, its best: its rate stands beside both of ours."""
    measure = partial(tcp.measure, rival)
    return Contender(rival.name, tcp.FIGURES - OF_OURS_ALONE, measure, rival.missing, rival.note)
