"""Services declared at run time: their backends are offered as they come, and taken back."""

from __future__ import annotations

from fabric.node import Node
from services.egress import Egress


async def offer_declared(node: Node, egress: Egress) -> None:
    """Have *egress* offer whatever *node* has a backend for, until cancelled."""
    while True:
        change = node.services.next_change()  # before the look, or a change could be missed
        egress.apply(node.services.configs.values())
        await change.wait()
