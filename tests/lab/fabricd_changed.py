"""`fabricd` as it is, but for what a test has to take away from it or to put around it.

``fabricd_changed.py JSON --config FILE``; the JSON object may say

- ``reaches``: ports. Datagrams to and from any other are lost, as a packet filter loses them: at
  the node's own socket, because a packet filter takes a privilege that tests should not need.
- ``mute``: a path. As long as a file is there, no link has a stream for anti-entropy.
- ``overheard``: ports, whom it speaks to and where that is heard: see
  :mod:`fabric.testing.eavesdropping`.
- ``guards``: what its driver is told of strangers in place of its defaults: fields of
  :class:`.Settings`.
- ``ingress``: true. The program is `fabric-ingress`.
- ``credulous``: true. What peers may cost is not bounded, and no forger is barred.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import trio
from attrs import evolve

from cli.daemon import FABRIC_INGRESS, FABRICD, run
from fabric import node
from fabric.core import correspondents
from fabric.core.budgets import Windows
from fabric.core.gossip_events import Stream
from fabric.core.intake import Intake
from fabric.runtime import starting
from fabric.runtime.sync import SyncStreams
from fabric.testing.eavesdropping import open_overheard_socket
from fabric.trio_quic import UdpSocket, open_udp_socket


class Walled(UdpSocket):
    """Loses what comes from and goes to other ports than those that it `reaches`."""

    reaches: frozenset[int]

    def receive(self):
        while (received := super().receive()) is not None and received[2][1] not in self.reaches:
            pass
        return received

    def send(self, datagrams, to):
        if to[1] in self.reaches:
            super().send(datagrams, to)


def wall_in(reaches):
    def open_walled(host, port, *, buffer_bytes):
        plain = open_udp_socket(host, port, buffer_bytes=buffer_bytes)
        walled = Walled(plain.sock, gso=plain.gso, gro=plain.gro)
        walled.reaches = frozenset(reaches)
        return walled

    replace(starting, "open_udp_socket", open_walled)


def let_overhear(towards, heard_at):
    opened = partial(open_overheard_socket, towards=towards, heard_at=heard_at)
    replace(starting, "open_udp_socket", opened)


def guard_by(guards):
    settings_of = node.settings_of
    replace(node, "settings_of", lambda config: evolve(settings_of(config), **guards))


def mute_while(file):
    keep = SyncStreams.keep

    async def keep_unless_muted(streams, link):
        while True:
            await wait_until(lambda: not file.exists())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep, streams, link)
                await wait_until(file.exists)
                nursery.cancel_scope.cancel()

    replace(SyncStreams, "keep", keep_unless_muted)


async def wait_until(holds):
    while not holds():
        await trio.sleep(0.1)


def believe_everybody():
    replace(correspondents, "CHECKED", dict.fromkeys(Stream, 1e9))
    replace(Windows, "take", lambda *_arguments: True)
    replace(Intake, "_bar", lambda *_arguments: [])


def replace(owner, name, made):
    """Let *made* be what *owner* calls *name*. Fails where it calls nothing so any more."""
    getattr(owner, name)
    setattr(owner, name, made)


def main():
    options = json.loads(sys.argv[1])
    if "reaches" in options:
        wall_in(options["reaches"])
    if "overheard" in options:
        let_overhear(*options["overheard"])
    if "guards" in options:
        guard_by(options["guards"])
    if "mute" in options:
        mute_while(Path(options["mute"]))
    if options.get("credulous"):
        believe_everybody()
    program = FABRIC_INGRESS if options.get("ingress") else FABRICD
    return run(program, sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
