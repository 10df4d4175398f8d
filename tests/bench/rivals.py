"""The forwarders that we are compared with, each started at its best.

Traps that this module knows, so that no rival is measured at its worst:

- stunnel leaves Nagle's algorithm on; 1 KiB exchanges then wait for delayed acknowledgements.
- ssh has all connections in one session. A share of small replies still waits 40 ms inside it,
  which its p99 shows and no option takes away.
- kcptun's default windows and parity are made for lossy, slow paths.
- aioquic's writer has no flow control, and a new stream has no id before its first byte.
- iroh's Python binding copies every byte sent in a Python loop: `iroh` is what its user gets,
  `iroh repaired` replaces that one method and shows the transport. Relays and discovery are off.
- nebula carries IP packets: one TCP connection from end to end, so no splice is paid for.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from attrs import field, frozen

from tests.bench import catalogue, nebula
from tests.bench.processes import Room, Word, free_port, listening
from tests.bench.route import Route, Start

FORWARD_IROH = Path(__file__).parent / "forward_iroh.py"
IROH_PYTHON = Path(".peers/iroh/bin/python").absolute()


@frozen
class Rival:
    """A path that others built, and what it takes to have it here."""

    name: str
    start: Start
    programs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    note: str = ""
    needs: Callable[[], str] = field(default=str)
    """Says what else is missing; empty for nothing."""

    def missing(self) -> str:
        """Why it cannot be measured here and the line that changes this; empty where it can."""
        absent = [program for program in self.programs if not shutil.which(program)]
        if absent:
            return f"{', '.join(absent)} not found; apt-get install {' '.join(self.packages)}"
        return self.needs()


# ---- one process, nothing encrypted: less than our job ----
def haproxy(room: Room, backend: int) -> Route:
    route = Route(port=free_port())
    config = room.write(
        "haproxy.cfg",
        f"""\
global
    maxconn 4096
    nbthread {os.cpu_count()}
defaults
    mode tcp
    backlog 4096
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen bench
    bind 127.0.0.1:{route.port}
    server backend 127.0.0.1:{backend}
""",
    )
    room.start("haproxy", "-db", "-f", config, until=listening(route.port))
    return route


# ---- two processes that encrypt: our job ----
def stunnel(room: Room, backend: int) -> Route:
    """Mutual TLS 1.3, one TLS connection for each TCP one."""
    route, middle = Route(port=free_port()), free_port()
    pem = self_signed(room)
    for side, accept, to in (("server", middle, backend), ("client", route.port, middle)):
        config = room.write(
            f"{side}.conf",
            f"""\
foreground = yes
pid =
debug = err
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[bench]
client = {"yes" if side == "client" else "no"}
accept = 127.0.0.1:{accept}
connect = 127.0.0.1:{to}
cert = {pem}
CAfile = {pem}
verifyPeer = yes
""",
        )
        room.start("stunnel", config, until=listening(accept))
    return route


def self_signed(room: Room) -> Path:
    """A P-256 key and its certificate in one file; stunnel's TLS libraries all take it."""
    key, certificate = room.folder / "key.pem", room.folder / "cert.pem"
    make = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=bench"
    run(*make.split(), "-days", "1", "-keyout", key, "-out", certificate)
    return room.write("both.pem", key.read_text() + certificate.read_text())


def ssh(room: Room, backend: int) -> Route:
    """A forwarding ssh beside a server of its own, both with keys made for this run."""
    route, middle = Route(port=free_port()), free_port()
    host_key, user_key = room.folder / "host_key", room.folder / "user_key"
    for key in (host_key, user_key):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # privilege separation's empty room
    settings = {
        "ListenAddress": f"127.0.0.1:{middle}",
        "HostKey": host_key,
        "AuthorizedKeysFile": f"{user_key}.pub",
        "StrictModes": "no",
        "UsePAM": "yes",  # root's locked password would refuse the key otherwise
        "PidFile": "none",
        "LogLevel": "ERROR",
    }
    config = room.write("sshd.conf", "".join(f"{k} {v}\n" for k, v in settings.items()))
    room.start("/usr/sbin/sshd", "-D", "-e", "-f", config, until=listening(middle))
    options = (
        "BatchMode=yes ExitOnForwardFailure=yes LogLevel=ERROR "
        "StrictHostKeyChecking=no UserKnownHostsFile=/dev/null"
    )
    room.start(
        *("ssh", "-F", "none", "-N", "-i", user_key, "-p", str(middle)),
        *[word for option in options.split() for word in ("-o", option)],
        *["-L", f"127.0.0.1:{route.port}:127.0.0.1:{backend}"],
        f"{getpass.getuser()}@127.0.0.1",
        until=listening(route.port),
    )
    return route


def kcptun(room: Room, backend: int) -> Route:
    """AES over reliable UDP, fast mode; windows for a fast link, no parity, no compression."""
    route, middle = Route(port=free_port()), free_port()
    tuning = [
        *["--key", os.urandom(16).hex(), "--crypt", "aes-128"],
        *["--mode", "fast3", "--nocomp", "--quiet"],
        *["--sndwnd", "2048", "--rcvwnd", "2048", "--datashard", "0", "--parityshard", "0"],
    ]
    server = ["kcptun-server", "-l", f"127.0.0.1:{middle}", "-t", f"127.0.0.1:{backend}"]
    client = ["kcptun-client", "-l", f"127.0.0.1:{route.port}", "-r", f"127.0.0.1:{middle}"]
    room.start(*server, *tuning)
    room.start(*client, *tuning, until=listening(route.port))
    return route


def python_halves(*program: Word) -> Start:
    """A Python library as a rival: egress leaves `ready` in the folder, then ingress starts."""

    def start(room: Room, backend: int) -> Route:
        route = Route(port=free_port())
        ready = room.folder / "ready"
        room.start(*program, "egress", str(backend), room.folder, until=ready.exists)
        accepts = listening(route.port)
        room.start(*program, "ingress", str(route.port), room.folder, until=accepts)
        return route

    return start


def aioquic_needs() -> str:
    install = f"{sys.executable} -m pip install --group test"
    return "" if find_spec("aioquic") else f"aioquic not found; {install}"


def iroh_needs() -> str:
    folder = IROH_PYTHON.parent.parent.relative_to(Path.cwd())
    make = f"python3 -m venv {folder} && {folder}/bin/pip install iroh==1.2.0"
    return "" if IROH_PYTHON.exists() else f"{IROH_PYTHON} not found; {make}"


def run(*command: Word) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


UNENCRYPTED = "one process, no encryption"

RIVALS = (
    Rival(catalogue.HAPROXY, haproxy, ("haproxy",), ("haproxy",), note=UNENCRYPTED),
    Rival(
        catalogue.STUNNEL,
        stunnel,
        ("stunnel", "openssl"),
        ("stunnel4", "openssl"),
        note="a TLS connection for each TCP one",
    ),
    Rival(
        catalogue.SSH,
        ssh,
        ("ssh", "ssh-keygen", "/usr/sbin/sshd"),
        ("openssh-client", "openssh-server"),
    ),
    Rival(catalogue.KCPTUN, kcptun, ("kcptun-server", "kcptun-client"), ("kcptun",)),
    Rival(
        catalogue.AIOQUIC,
        python_halves(sys.executable, "-m", "tests.bench.forward_aioquic"),
        needs=aioquic_needs,
    ),
    Rival(
        catalogue.IROH,
        python_halves(IROH_PYTHON, FORWARD_IROH),
        note="the wheel as it is",
        needs=iroh_needs,
    ),
    Rival(
        catalogue.IROH_REPAIRED,
        python_halves(IROH_PYTHON, FORWARD_IROH, "--repaired"),
        note="without its binding's copy loop",
        needs=iroh_needs,
    ),
    Rival(
        catalogue.NEBULA,
        nebula.start,
        ("nebula", "nebula-cert", "ip"),
        ("nebula", "iproute2"),
        note="IP packets: no splice",
        needs=nebula.needs,
    ),
)
