"""Who belongs to the fabric, row by row: what is signed, what liveness says, whether linked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import trio
from attrs import frozen

from fabric.codes import Code
from fabric.core.identity import NodeId
from fabric.core.records import NodeRecord
from fabric.core.views import Sworn
from fabric.runtime.overlay import Overlay
from fabric.runtime.snapshot import Row


@frozen
class MemberRows:
    """Makes rows of the members at the moment of asking; keeps none."""

    _overlay: Overlay

    def rows(self) -> Iterator[Row]:
        """Yield every member, this node too, by name; who goes meanwhile is left out."""
        readings = self._overlay.knowledge.readings
        known = sorted((record.name, node) for node, record in readings.members().items())
        for _name, node in known:
            if (sworn := readings.member(node)) is not None:
                yield self._row(node, sworn)

    def _row(self, node: NodeId, sworn: Sworn[NodeRecord]) -> Row:
        view = self._overlay.liveness.core.view_of(node)
        known = math.isfinite(view.since)
        code = self._code(node, sworn)
        return {
            "name": sworn.record.name,
            "id": node,
            "itself": node == self._overlay.me.node_id,
            "area": sworn.record.area,
            "roles": list(sworn.record.roles),
            "liveness": None if view.state is None else view.state.value,
            "since_s": round(trio.current_time() - view.since, 3) if known else None,
            "incarnation": view.incarnation,
            "accusers": self._names(view.accusers),
            **self._link(node),
            "standing": sworn.standing.value,
            "code": code.label if code is not None else None,
            "expires_at": sworn.record.expires_at,
            "addresses": self._addresses(node),
        }

    def _link(self, node: NodeId) -> Row:
        peer, rtt = self._overlay.peers.by_id.get(node), self._overlay.reach.rtt(node)
        return {
            "connected": self._overlay.link_to(node) is not None,
            "rtt_ms": None if rtt is None else round(rtt * 1000, 3),
            "reason": peer.reason.label if peer is not None and peer.reason is not None else None,
        }

    def _code(self, node: NodeId, sworn: Sworn[NodeRecord]) -> Code | None:
        """Return what stands against *node*: its record's time, or that it is kept out."""
        if self._overlay.roster.by_id(node) is None:
            return self._overlay.roster.why_not(sworn.record.key_bytes)
        return sworn.standing.code

    def _names(self, nodes: Iterable[NodeId]) -> list[str]:
        found = ((node, self._overlay.knowledge.readings.node(node)) for node in nodes)
        return [sworn.record.name if sworn is not None else node for node, sworn in found]

    def _addresses(self, node: NodeId) -> list[str]:
        """Return where *node* says it is, as it says it."""
        sworn = self._overlay.knowledge.readings.endpoint_of(node)
        return [] if sworn is None else [each.address for each in sworn.record.candidates]
