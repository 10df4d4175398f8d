"""``fabricctl``: start a local fabric, see it, steer it, offer services and use them."""

from __future__ import annotations

import sys

import cyclopts

from cli import ctl_channel, ctl_fabric, ctl_node, ctl_service
from cli.exits import finish
from fabric import __version__

app = cyclopts.App(
    name="fabricctl",
    help=(
        "Start a local fabric, see it, steer it, offer services and use them.\n\n"
        "NODE is a node of the local fabric: of the nearest .fabric/ upward, or of $FABRIC_DIR. "
        "Every command takes --json. Exit codes: 0 yes, 1 no, 2 usage, 3 unreachable."
    ),
    version=f"fabricctl {__version__}",
    default_parameter=cyclopts.Parameter(negative_bool=()),
)

for _command in (
    ctl_fabric.up,
    ctl_fabric.down,
    ctl_fabric.status,
    ctl_node.nodes,
    ctl_channel.channels,
    ctl_channel.channel,
    ctl_node.drain,
    ctl_node.stop,
    ctl_service.expose,
    ctl_service.unexpose,
    ctl_service.forward,
):
    app.command(_command, sort_key=len(list(app)))


def main() -> None:
    sys.exit(finish(app))


if __name__ == "__main__":
    main()
