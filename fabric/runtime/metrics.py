"""What a node counts, and the registry that shows it to Prometheus.

Theory of operation
===================

The hot path adds to a :class:`Tally`, which is one dictionary increment: 0.1 us, where a
labelled counter of prometheus-client takes 0.9 us, most of it for locks and for turning labels
into text. Everything that the node knows anyway is read off its snapshot during the scrape. So
prometheus-client, 3 MB resident, is imported by the first scrape and not before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from attrs import define, field

from fabric.codes import Code
from fabric.runtime.scrape import Family, Label, Series, Snapshot, bytes_of, gauges_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

MAX_SERIES = 1000
"""Series of one tally. Labels such as the service name may come from a peer, and each series
lives as long as the process: what is new beyond this is counted under the label ``other``."""


@define(eq=False)
class Tally:
    """A count that only grows, by the values of its labels."""

    name: str
    documentation: str
    labels: tuple[str, ...]
    series: dict[tuple[Label, ...], int] = field(factory=dict, init=False)

    def add(self, *values: Label, by: int = 1) -> None:
        """Count *by* more under *values*, one per label in the order of :attr:`labels`.

        Raises :exc:`ValueError` when their number is wrong: a bug of the caller.
        """
        try:
            self.series[values] += by
        except KeyError:
            self._first(values, by)

    def _first(self, values: tuple[Label, ...], by: int) -> None:
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {len(values)}")
        if len(self.series) >= MAX_SERIES:
            values = ("other",) * len(self.labels)
        self.series[values] = self.series.get(values, 0) + by


class Metrics:
    """All that one node counts. Belongs to the node's trio thread."""

    def __init__(self) -> None:
        self._tallies: list[Tally] = []
        self._snapshot: Callable[[], Snapshot] | None = None
        self._registry: CollectorRegistry | None = None

        counted = self._tally
        self.channels_opened = counted("channels_opened", "Opened.", "service direction")
        self.channels_refused = counted(
            "channels_refused", "Refused before they were open.", "service code direction"
        )
        self.channels_reset = counted(
            "channels_reset", "Broken after they were open.", "service code"
        )
        self.channel_bytes = counted("channel_bytes", "Moved; sent or received.", "service way")
        """Add a channel's bytes when it leaves the snapshot: until then they count from there."""

        self.hellos_refused = counted("hellos_refused", "Refused before admission.", "code side")
        self.ingress_accepted = counted(
            "ingress_connections_accepted", "TCP connections accepted.", "listener"
        )
        self.ingress_refused = counted(
            "ingress_connections_refused", "TCP connections refused.", "listener code"
        )
        self.records_refused = counted("records_refused", "Records not taken.", "reason")
        self.records_sent = counted("records_sent", "Copies of records put in outboxes.", "")
        self.records_dropped = counted("records_dropped", "Copies that found no room.", "")
        self.members_turned = counted("members_turned", "Turns of members' liveness.", "state")
        self.log_lines_suppressed = counted(
            "log_lines_suppressed", "Log lines that a limit left out.", "code"
        )

    def _tally(self, name: str, documentation: str, labels: str) -> Tally:
        tally = Tally(f"fabric_{name}", documentation, tuple(labels.split()))
        self._tallies.append(tally)
        return tally

    def observe(self, snapshot: Callable[[], Snapshot]) -> None:
        """Read gauges off *snapshot* at each scrape from now on."""
        self._snapshot = snapshot

    @property
    def registry(self) -> CollectorRegistry:
        """The node's own registry; the first use imports prometheus-client."""
        if self._registry is None:
            from prometheus_client import CollectorRegistry, ProcessCollector

            self._registry = CollectorRegistry()
            self._registry.register(self)
            ProcessCollector(registry=self._registry)
        return self._registry

    def render(self) -> tuple[bytes, str]:
        """Return a scrape in Prometheus' text format, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """What prometheus-client calls during a scrape."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        shapes = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        for family in self.families():
            metric = shapes[family.kind](family.name, family.documentation, labels=family.labels)
            for values, amount in family.series.items():
                metric.add_metric([_text(value) for value in values], amount)
            yield metric

    def families(self) -> Iterator[Family]:
        """Every metric with its series as of now."""
        snapshot = self._snapshot() if self._snapshot else None
        moved = bytes_of(snapshot["channels"]) if snapshot else Counter[tuple[Label, ...]]()
        moved.update(self.channel_bytes.series)
        for tally in self._tallies:
            yield _counted(tally, moved if tally is self.channel_bytes else tally.series)
        if snapshot:
            yield from gauges_of(snapshot)


def _counted(tally: Tally, series: Series) -> Family:
    return Family("counter", tally.name, tally.documentation, tally.labels, series)


def _text(value: Label) -> str:
    return value.label if isinstance(value, Code) else value
