"""Nebula between two network namespaces that are made for the run and removed with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.bench.processes import Room, Word
from tests.bench.route import Route

UDP_PORT = 4242
LINK = "10.213.7."
OVERLAY = "10.213.8."
MTU = 1300
"""Nebula's own default: what surely fits with its header in 1500 bytes."""


def needs() -> str:
    if os.getuid() != 0:
        return "network namespaces need root; run as root"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun not found; modprobe tun"
    return ""


def start(room: Room, backend: int) -> Route:
    """Load enters the tunnel in one namespace; the backend is expected to run in the other."""
    spaces = [f"bench-{os.getpid()}-{end}" for end in "ab"]
    for space in spaces:
        ip("netns", "add", space)
        room.at_exit(ip, "netns", "del", space)
    ends = [("name", "v0", "netns", space) for space in spaces]
    ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
    certify(room)
    for number, space in enumerate(spaces, start=1):
        ip("-n", space, "address", "add", f"{LINK}{number}/24", "dev", "v0")
        ip("-n", space, "link", "set", "lo", "up")
        ip("-n", space, "link", "set", "v0", "up")
    for number, space in enumerate(spaces, start=1):
        config = room.write(f"{number}.yml", configuration(room.folder, number))
        room.start(*entering(space), "nebula", "-config", config)
    room.wait(answers(spaces[0]))
    return Route(
        port=backend,
        host=f"{OVERLAY}2",
        client=entering(spaces[0]),
        backend=entering(spaces[1]),
        backend_host="0.0.0.0",
    )


def entering(space: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", space)


def certify(room: Room) -> None:
    """An authority of its own and a certificate for each end."""
    folder = room.folder
    ca = folder / "ca.crt", folder / "ca.key"
    call("nebula-cert", "ca", "-name", "bench", "-out-crt", ca[0], "-out-key", ca[1])
    for number in (1, 2):
        call(
            *("nebula-cert", "sign", "-name", str(number), "-ip", f"{OVERLAY}{number}/24"),
            *("-ca-crt", ca[0], "-ca-key", ca[1]),
            *("-out-crt", folder / f"{number}.crt", "-out-key", folder / f"{number}.key"),
        )


def configuration(folder: Path, number: int) -> str:
    other = 3 - number
    return f"""\
pki: {{ca: {folder}/ca.crt, cert: {folder}/{number}.crt, key: {folder}/{number}.key}}
static_host_map: {{"{OVERLAY}{other}": ["{LINK}{other}:{UDP_PORT}"]}}
lighthouse: {{am_lighthouse: false}}
listen: {{host: 0.0.0.0, port: {UDP_PORT}, batch: 64}}
punchy: {{punch: false}}
tun: {{dev: nebula0, mtu: {MTU}}}
logging: {{level: warning}}
firewall:
  outbound: [{{port: any, proto: any, host: any}}]
  inbound: [{{port: any, proto: any, host: any}}]
"""


def answers(space: str) -> Callable[[], bool]:
    """True once the far end refuses a TCP connection to a port that nobody listens on."""
    probe = [*entering(space), "timeout", "1", "bash", "-c", f": </dev/tcp/{OVERLAY}2/9"]

    def refuses() -> bool:
        return "refused" in subprocess.run(probe, capture_output=True, text=True).stderr

    return refuses


def ip(*words: str) -> None:
    call("ip", *words)


def call(*command: Word) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
