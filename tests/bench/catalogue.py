"""Every figure that is taken: its unit, and the ratio to each rival that the project wants."""

from __future__ import annotations

from fnmatch import fnmatchcase

from tests.bench.report import Figure

AIOQUIC = "aioquic"
PROTOTYPE = "prototype"
NONE_STALLED = "none stalled"
NONE_IDLE = "none idle"
OWN_QUIC = "own trio_quic"
HAPROXY, STUNNEL, SSH, KCPTUN = "haproxy", "stunnel pair", "ssh -L", "kcptun"
JSON_ROWS = "json in sqlite"
SERF = "serf"
IROH, IROH_REPAIRED, NEBULA = "iroh", "iroh repaired", "nebula"

_QUIC = {AIOQUIC: 15, PROTOTYPE: 0.9}
_BULK = {IROH_REPAIRED: 1, NEBULA: 2, AIOQUIC: 8, STUNNEL: 0.5}
_KEPT = "us"

FIGURES = (
    Figure("quic.bulk_1452", "MB/s", wanted=_QUIC),
    Figure("quic.bulk_1200", "MB/s", wanted=_QUIC),
    Figure("quic.requests_1", "1/s"),
    Figure("quic.requests_32", "1/s", wanted={AIOQUIC: 3, PROTOTYPE: 0.9}),
    Figure("quic.handshakes_16", "1/s", wanted={AIOQUIC: 2}),
    Figure("quic.stalled_rate_20", "MB/s", wanted={NONE_STALLED: 0.9}),
    Figure("quic.stalled_rate_200", "MB/s", wanted={NONE_STALLED: 0.9}),
    Figure("quic.ticker_max_ms", "ms", less_is_better=True, allowed=10),
    Figure("ingress.up_1", "MB/s", wanted=_BULK),
    Figure("ingress.up_1_1200", "MB/s", wanted=_BULK),
    Figure("ingress.up_8", "MB/s", wanted=_BULK),
    Figure("ingress.down_1", "MB/s", wanted=_BULK),
    Figure("ingress.down_8", "MB/s", wanted=_BULK),
    Figure("ingress.connections", "1/s", wanted={AIOQUIC: 1}),
    Figure("ingress.p50_1", _KEPT, less_is_better=True, wanted={AIOQUIC: 1}),
    Figure("ingress.p99_1", _KEPT, less_is_better=True),
    Figure("ingress.p50_32", _KEPT, less_is_better=True, wanted={AIOQUIC: 2}),
    Figure(
        "ingress.cpu_per_gb", "CPU s/GB", less_is_better=True, wanted={IROH: 1, IROH_REPAIRED: 1}
    ),
    Figure("ingress.memory", "MB", less_is_better=True),
    Figure("ingress.share_of_quic", "MB/s", wanted={OWN_QUIC: 0.45}),
    Figure("node.rest_memory", "MB", less_is_better=True, allowed=60),
    Figure("node.rest_cpu", "% of a core", less_is_better=True, allowed=1),
    Figure("ingress.idle_20000_memory", "MB", less_is_better=True, allowed=500),
    Figure("ingress.idle_20000_rate", "1/s", wanted={NONE_IDLE: 0.9}),
    Figure("gossip.event_p50", "ms", less_is_better=True, wanted={SERF: 1}),
    Figure("gossip.event_p99", "ms", less_is_better=True, wanted={SERF: 1}),
    Figure("gossip.event_cpu", "% of a core", less_is_better=True),
    Figure("gossip.dead_first", "s", less_is_better=True),
    Figure("gossip.dead_all", "s", less_is_better=True, wanted={SERF: 1}),
    Figure("gossip.rest_cpu", "% of a core", less_is_better=True),
    Figure("gossip.memory", "MB", less_is_better=True),
    Figure("gossip.resident", "MB", less_is_better=True),
    Figure("cache.load_10k", "s", less_is_better=True, allowed=0.5),
    Figure("cache.usable_10k", "s", less_is_better=True, allowed=3),
    Figure("records.judged", "1/s", allowed=5000),
    Figure("records.by_wave", "1/s", allowed=5000),
    Figure("records.by_page", "1/s", allowed=5000),
)


def matching(pattern: str) -> tuple[Figure, ...]:
    """Figures whose name matches a shell pattern; a bare word matches the start of a name."""
    return tuple(
        figure
        for figure in FIGURES
        if fnmatchcase(figure.name, pattern) or figure.name.startswith(pattern)
    )
