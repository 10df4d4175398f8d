"""Everyone who is measured, in the order of their turns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tests.bench import cache, gossip, own_nodes, prototype, quic, records, rest, tcp
from tests.bench.contender import Contender
from tests.bench.report import OURS
from tests.bench.rivals import RIVALS, Rival

AT_1200 = frozenset({"ingress.up_1_1200"})
OF_OURS_ALONE = frozenset({"ingress.share_of_quic"})


def everyone(prototype_folder: str | None) -> list[Contender]:
    drivers = quic.contenders()
    if prototype_folder:
        drivers.append(prototype.contender(prototype_folder))
    return [
        *drivers,
        *own_paths(),
        *map(rival_path, RIVALS),
        *rest.contenders(),
        *gossip.contenders(),
        *cache.contenders(),
        *records.contenders(),
    ]


def notes(everyone: Sequence[Contender]) -> dict[str, str]:
    """What must be known of each name that stands as a rival."""
    return (
        {each.name: each.note for each in everyone} | rest.notes() | gossip.notes() | cache.notes()
    )


def own_paths() -> list[Contender]:
    """Ours at both sizes of datagram, beside the driver alone."""
    return [
        own_path(tcp.FIGURES - AT_1200, datagram_bytes=1452),
        own_path(AT_1200, datagram_bytes=1200),
        quic.own_bulk(),
    ]


def own_path(figures: frozenset[str], *, datagram_bytes: int) -> Contender:
    start = partial(own_nodes.start_route, datagram_bytes=datagram_bytes)
    return Contender(OURS, figures, partial(tcp.measure, OURS, start))


def rival_path(rival: Rival) -> Contender:
    """A rival has one size of datagram, its best: its rate stands beside both of ours."""
    measure = partial(tcp.measure, rival.name, rival.start)
    return Contender(rival.name, tcp.FIGURES - OF_OURS_ALONE, measure, rival.missing, rival.note)
