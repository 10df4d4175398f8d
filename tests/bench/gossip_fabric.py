"""Our own fleet: nodes of three areas with one seed, told of records at their admin sockets."""

from __future__ import annotations

import socket

from fabric.core.codec.envelopes import envelope_to_json
from tests.bench.ears import Ears
from tests.bench.fleet import JOINED_WITHIN, Fleet
from tests.bench.own_nodes import Node, OwnNodes
from tests.bench.processes import DidNotStart, Room

AREAS = 3
READY = b'"event":"node.ready"'


def start(room: Room, ears: Ears, names: tuple[str, ...]) -> Fleet:
    """Blocks until each node holds each other to be alive."""
    nodes = OwnNodes(room, 1452)
    planned = {
        name: nodes.plan(name, area=f"area-{number % AREAS}") for number, name in enumerate(names)
    }
    known = [
        ears.expect(turned(each, "alive"), (name for name in names if name != each))
        for each in names
    ]
    ready = ears.expect(READY, names)
    first, *_ = planned.values()
    processes = {
        name: nodes.start(
            "fabricd", node, [first] if node is not first else [], log=ears.pipe(name)
        )
        for name, node in planned.items()
    }
    for each in (ready, *known):
        each.wait(JOINED_WITHIN)
    sockets = {name: AdminSocket(room, node) for name, node in planned.items()}

    def record(tag: str) -> bytes:
        signed = nodes.fabric.signed(nodes.fabric.service(tag))
        return request("POST", "/v1/records", envelope_to_json(signed).encode())

    def open_sockets() -> None:
        for each in sockets.values():
            each.open()

    return Fleet(
        processes=processes,
        prepare=open_sockets,
        event=record,
        tell=lambda at, packed: sockets[at].send(packed),
        heard=lambda tag: b'"record.changed".*"service/%s"' % tag.encode(),
        dead=lambda name: turned(name, "dead"),
    )


def turned(name: str, state: str) -> bytes:
    return f'"member.turned".*"member":"{name}","state":"{state}"'.encode()


def request(method: str, path: str, body: bytes) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: node\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class AdminSocket:
    """A connection to the admin socket of one node, open for as long as the room."""

    def __init__(self, room: Room, node: Node) -> None:
        self._path = str(node.admin_socket)
        self._socket = socket.socket(socket.AF_UNIX)
        room.at_exit(self._socket.close)

    def open(self) -> None:
        """Ask for nothing much, and wait for the answer: the first loads the web framework."""
        self._socket.settimeout(10)
        self._socket.connect(self._path)
        self.send(request("GET", "/v1/ready", b""))
        if b" 200 " not in self._socket.recv(4096):
            raise DidNotStart(f"{self._path} is not ready")

    def send(self, packed: bytes) -> None:
        self._socket.sendall(packed)
