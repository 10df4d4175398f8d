"""HashiCorp serf as a fleet: agents on loopback with the LAN profile, told by their own protocol.

Traps that this module knows, so that serf is measured at its best:

- `serf event` is a new process each time; here each agent is asked over a connection that is kept.
- Events are held back for up to three seconds unless they are said not to be coalesced.
- Member events reach handlers and RPC clients after a coalescing delay; the log has them at once.
- An event handler is a shell process for each event and agent; the log line is none.

Nothing is encrypted, which saves it work that ours does.
"""

from __future__ import annotations

import socket

import msgpack

from tests.bench.ears import Ears
from tests.bench.fleet import JOINED_WITHIN, Fleet
from tests.bench.processes import Room, quiet_ports

PAYLOAD = bytes(256)
"""What an event says, beside its name: an event may have 512 bytes in all."""


def start(room: Room, ears: Ears, names: tuple[str, ...]) -> Fleet:
    """Blocks until each agent has each as a member."""
    joined = [ears.expect(b"EventMemberJoin: %s " % each.encode(), names) for each in names]
    ports = quiet_ports(2 * len(names))
    binds, rpcs = ports[::2], ports[1::2]
    processes = {
        name: room.start(
            *("serf", "agent", "-profile=lan", f"-node={name}", f"-bind=127.0.0.1:{bind}"),
            *(f"-rpc-addr=127.0.0.1:{rpc}", f"-retry-join=127.0.0.1:{binds[0]}"),
            "-retry-interval=1s",
            log=ears.pipe(name),
        )
        for name, bind, rpc in zip(names, binds, rpcs, strict=True)
    }
    for each in joined:
        each.wait(JOINED_WITHIN)
    agents = {name: Agent(room, rpc) for name, rpc in zip(names, rpcs, strict=True)}

    def open_connections() -> None:
        for each in agents.values():
            each.open()

    return Fleet(
        processes=processes,
        prepare=open_connections,
        event=user_event,
        tell=lambda at, packed: agents[at].send(packed),
        heard=lambda tag: b"Received event: user-event: %s$" % tag.encode(),
        dead=lambda name: b"EventMemberFailed: %s " % name.encode(),
    )


def user_event(tag: str) -> bytes:
    return request("event", {"Name": tag, "Payload": PAYLOAD, "Coalesce": False})


def request(command: str, body: dict[str, object]) -> bytes:
    head: bytes = msgpack.packb({"Command": command, "Seq": 1})
    return head + bytes(msgpack.packb(body))


class Agent:
    """A connection to one agent's RPC port. Its answers are not read: they are a few bytes."""

    def __init__(self, room: Room, port: int) -> None:
        self._port = port
        self._socket = socket.socket()
        room.at_exit(self._socket.close)

    def open(self) -> None:
        self._socket.connect(("127.0.0.1", self._port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(request("handshake", {"Version": 1}))

    def send(self, packed: bytes) -> None:
        self._socket.sendall(packed)
