"""``fabricctl``: start a local fabric, see it, steer it, offer services and use them."""

from __future__ import annotations

import sys

import cyclopts

from cli.ctl.channel import channel, channels
from cli.ctl.directory import members, services, waves
from cli.ctl.node import drain, nodes, stop
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


def _by_name(*commands: tuple[str, str, str]) -> None:
    """Add *commands*, (name, where it is, what it does), to be imported once they are asked for.

    Whoever only looks at a fabric does not wait for what signs records.
    """
    for name, where, what in commands:
        app.command(f"cli.ctl.{where}", name=name, help=what, sort_key=len(list(app)))


_by_name(
    (
        "up",
        "fabric:up",
        "Start a local fabric in .fabric/, and send one request through it.\n\n"
        "Three fabricd, one fabric-ingress and a small HTTP backend. Run it again to start what "
        "died.",
    ),
    ("down", "fabric:down", "End exactly the processes that `up` started."),
    (
        "status",
        "fabric:status",
        "Show each process of the local fabric. Exits 1 unless all are ready, 3 if none runs.",
    ),
)

for _command in (nodes, members, services, waves, channels, channel, drain, stop):
    app.command(_command, sort_key=len(list(app)))

_by_name(
    (
        "expose",
        "service:expose",
        "Offer service NAME from a node, answered by the TCP server at BACKEND (127.0.0.1:8000)."
        "\n\nKept in the node's state, and told to the fabric at once. Who may offer and open it "
        "is said by its signed record: `fabricctl service add`, or --open-to here.",
    ),
    ("unexpose", "service:unexpose", "Take back what `expose` offered."),
    (
        "forward",
        "service:forward",
        "Make a local port lead to a fabric service, as ssh -L would: WHAT is 5432:NAME.\n\n"
        "Runs until ^C, which closes the port. With --json, prints one JSON object per line.",
    ),
    ("directory", "directory:directory", "See the records that a node holds, or sign anew."),
    ("init", "creation:init", "Create a fabric of your own: its id, keys and trust root."),
    ("node", "members:node", "Say who belongs to the fabric."),
    ("service", "grants:service", "Say who may offer and open a service."),
    ("policy", "grants:policy", "Say what holds for every node."),
    ("revoke", "grants:revoke", "Say that a node or service is no more."),
    ("root", "roots:root", "See and change which keys may sign what."),
    ("record", "records:record", "See, check and hand out signed records."),
    ("sim", "sim:sim", "Play a fabric of many nodes in virtual time."),
)


def main() -> None:
    sys.exit(finish(app))


if __name__ == "__main__":
    main()
