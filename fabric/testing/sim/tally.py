"""What a simulated fabric costs: frames and bytes, by node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from attrs import define, field, frozen

from fabric.core.identity import NodeId
from fabric.testing.sim.wire import ACKNOWLEDGEMENT, AROUND, BESIDE, Item, Way


@define(eq=False)
class Tally:
    """Counts from the beginning; whoever wants to know of a while takes a :meth:`mark` first."""

    frames: Counter[NodeId] = field(factory=Counter)
    """That a node sent."""
    bytes_out: Counter[NodeId] = field(factory=Counter)
    """UDP payload that a node sent."""
    bytes_in: Counter[NodeId] = field(factory=Counter)

    def mark(self) -> Tally:
        """Return what was counted so far."""
        return Tally(self.frames.copy(), self.bytes_out.copy(), self.bytes_in.copy())

    def since(self, mark: Tally) -> Tally:
        """Return what was counted after *mark* was taken."""
        return Tally(
            self.frames - mark.frames,
            self.bytes_out - mark.bytes_out,
            self.bytes_in - mark.bytes_in,
        )

    def sent(self, sender: NodeId, item: Item, resent: int) -> None:
        """Count *item*, and the *resent* datagrams of it that were lost."""
        size = item.size + AROUND * item.datagrams
        if resent and item.datagrams:
            size += resent * (AROUND + item.size // item.datagrams)
        self.frames[sender] += 1
        self.bytes_out[sender] += size

    def received(self, way: Way, item: Item, *, is_answered: bool) -> None:
        """Count *item* at who reads it, and what acknowledges it."""
        self.bytes_in[way.receiver] += item.size + AROUND * item.datagrams
        if item.datagrams:
            size = BESIDE if is_answered else ACKNOWLEDGEMENT * -(-item.datagrams // 2)
            self.counted(way.receiver, way.sender, size)

    def counted(self, sender: NodeId, receiver: NodeId, size: int) -> None:
        self.bytes_out[sender] += size
        self.bytes_in[receiver] += size

    def cost(self, nodes: Iterable[NodeId], seconds: float) -> Cost:
        """Return what it comes to for each of *nodes*, over so many *seconds*."""
        each = list(nodes)
        both_ways = [self.bytes_out[node] + self.bytes_in[node] for node in each]
        return Cost(
            seconds=seconds,
            frames=sum(self.frames[node] for node in each) / len(each),
            bytes_out=sum(self.bytes_out[node] for node in each) / len(each),
            both_ways=sum(both_ways) / len(each),
            most_both_ways=max(both_ways),
        )


@frozen(kw_only=True)
class Cost:
    """What a while costs a node: means over all of them."""

    seconds: float
    frames: float
    """Sent."""
    bytes_out: float
    """UDP payload sent."""
    both_ways: float
    """UDP payload sent and received."""
    most_both_ways: float
    """By the node that has most of it."""

    def per_second(self) -> Cost:
        """Return the same as rates."""
        return Cost(
            seconds=1.0,
            frames=self.frames / self.seconds,
            bytes_out=self.bytes_out / self.seconds,
            both_ways=self.both_ways / self.seconds,
            most_both_ways=self.most_both_ways / self.seconds,
        )
