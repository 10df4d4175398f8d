"""Which node a command asks: one of the local fabric by its name, or any by its admin socket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cli.client import AdminClient
from cli.local.fabric import INSPECTED_NODE, existing_fabric

Node = Annotated[str, Parameter(env_var="FABRIC_NODE")]
"""The name of a node of the local fabric."""

ASKED = INSPECTED_NODE
"""Who is asked when nobody is named."""


def admin_at(node: str, socket: Path | None) -> AdminClient:
    """The admin socket of *node* in the local fabric, or *socket* itself."""
    return AdminClient(socket, str(socket)) if socket else existing_fabric().admin(node)
