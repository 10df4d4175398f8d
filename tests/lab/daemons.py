"""A fabric of real processes in a test's folder: declared, started, asked, ended by their ids."""

from __future__ import annotations

import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import tomli_w
import trio
from attrs import define, field
from prometheus_client.parser import text_string_to_metric_families

from cli.client import AdminClient, AdminRefusedError
from cli.unix_http import open_exchange
from fabric.store.peer_cache import CACHE_FILE
from fabric.testing.papers import Papers

ENDED_AS_ASKED = {None, 0, -signal.SIGKILL}
"""Return codes of a daemon that a test may leave behind; any other end is a crash."""

KEYS = "SELECT kind, subject FROM records"

LOGGED_WITHIN = 15
"""Seconds for a line to come."""

READY_WITHIN = 60
"""Seconds for a daemon to be ready: on a busy machine, ten interpreters that start at once."""


def free_port(kind=socket.SOCK_STREAM, host="127.0.0.1"):
    """Return a port below those that the system gives away by itself meanwhile."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket(family, kind) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
        return port


async def until(holds):
    """Look every 20 ms until *holds*() is true, or true once awaited; return what it gave."""
    while True:
        found = holds()
        if hasattr(found, "__await__"):
            found = await found
        if found:
            return found
        await trio.sleep(0.02)


@define(eq=False)
class Daemon:
    """One `fabricd` or `fabric-ingress`: its configuration, and its process while it runs."""

    name: str
    folder: Path
    program: str
    document: dict
    entry: tuple[str, ...] = ()
    """What the interpreter runs in place of `program`, which is a module."""
    process: trio.Process | None = None
    return_codes: list = field(factory=list)
    _log_starts: int = 0

    # -- what it is told --
    def hand(self, papers, seeds=()):
        """Let its file name *papers*, and *seeds* as where others may be found."""
        self.document["node"] |= {
            "trust_root": str(papers.trust_root),
            "records": [str(papers.records)],
            "seeds": list(seeds),
        }

    @property
    def udp_address(self):
        return self.document["quic"]["listen"]

    @property
    def backed(self):
        """The services that it offers once it runs."""
        return {name for name, one in self.document["services"].items() if "backend" in one}

    @property
    def address(self):
        """Where its first listener takes clients."""
        return self.document["listeners"][0]["listen"]

    # -- process --
    @property
    def config_file(self):
        return self.folder / "node.toml"

    @property
    def log_file(self):
        return self.folder / "log"

    def write(self):
        self.config_file.write_text(tomli_w.dumps(self.document))

    async def start(self):
        """Start it, or start it again; return once it has logged that it is ready."""
        await self.launch()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fail_when_it_ends)
            await self.logged("node.ready", within=READY_WITHIN)
            nursery.cancel_scope.cancel()

    async def _fail_when_it_ends(self):
        await self.process.wait()
        raise AssertionError(f"{self.name} ended: {self.lines()[-3:]}")

    async def launch(self):
        """Start it without waiting for anything."""
        self.write()
        self._log_starts = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("a") as log:
            self.process = await trio.lowlevel.open_process(
                [sys.executable, "-P", *self._entry, "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def _entry(self):
        return self.entry or ("-m", self.program)

    async def signal(self, number):
        self.process.send_signal(number)
        await trio.lowlevel.checkpoint()

    async def kill(self):
        """SIGKILL, and the end of the process."""
        self.process.kill()
        await self.ended()

    async def ended(self):
        """Wait for its end; return the exit code."""
        self.return_codes.append(await self.process.wait())
        return self.return_codes[-1]

    # -- what it uses --
    @property
    def rss(self):
        return psutil.Process(self.process.pid).memory_info().rss

    @property
    def descriptors(self):
        return psutil.Process(self.process.pid).num_fds()

    @property
    def cpu_s(self):
        used = psutil.Process(self.process.pid).cpu_times()
        return used.user + used.system

    # -- what it says --
    @property
    def state(self):
        """Its state folder."""
        return self.folder / "state"

    @property
    def _admin_socket(self):
        return self.state / "admin.sock"

    @property
    def admin(self):
        return AdminClient(self._admin_socket, self.name)

    async def snapshot(self):
        return await self.admin.snapshot()

    async def trace(self, record):
        """What it holds of *record*, KIND/SUBJECT, and how that came; None where nothing is."""
        try:
            return await self.admin.trace(record)
        except AdminRefusedError as refused:
            if refused.status == 404:
                return None
            raise

    async def records(self):
        """Everything that it holds: the order by key."""
        rows = (await self.admin.directory())["records"]
        return {row["key"]: tuple(row["order"]) for row in rows}

    def records_on_disk(self):
        """The keys of the records in its cache's file, which is sound, whether it runs or not."""
        with closing(sqlite3.connect(self.state / CACHE_FILE)) as disk:
            assert disk.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return {f"{kind}/{subject}" for kind, subject in disk.execute(KEYS)}

    async def peer(self, name):
        """Its row of the peer *name*; None while there is none."""
        rows = (await self.snapshot())["peers"]
        return next((row for row in rows if row["name"] == name), None)

    async def connected(self, *names):
        """Wait until the peers of these *names* are connected."""
        for name in names:
            await until(lambda name=name: self._is_connected(name))

    async def _is_connected(self, name):
        row = await self.peer(name)
        return row is not None and row["state"] == "connected"

    async def knows(self, service, *names):
        """Wait until it knows that nodes of these *names* offer *service*."""
        await until(lambda: self._is_offered(service, names))

    async def _is_offered(self, service, names):
        rows = (await self.snapshot())["services"]
        found = {name for row in rows if row["name"] == service for name in row["instances"]}
        return found.issuperset(names)

    async def count(self, metric, **labels):
        """Scrape it; return the sum of the samples of *metric* that bear all of *labels*."""
        async with open_exchange(self._admin_socket, "GET", "/metrics") as answer:
            text = (await answer.whole()).decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        )

    def lines(self, event=None, **facts):
        """What it has logged since its latest start: all, or those of *event* with *facts*."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_starts)
            # A last line without its end is still being written.
            whole = [line for line in log.read().splitlines(True) if line.endswith(b"\n")]
        lines = [_parsed(line.decode()) for line in whole]
        return [
            line
            for line in lines
            if event in (None, line.get("event")) and facts.items() <= line.items()
        ]

    async def logged(self, event, *, within=LOGGED_WITHIN, **facts):
        """Wait for a line of *event* with *facts*; return the first.

        Fails, with what was logged instead, when it does not come *within* so many seconds.
        """
        with trio.move_on_after(within):
            while not (lines := self.lines(event, **facts)):
                await trio.sleep(0.02)
            return lines[0]
        raise AssertionError(f"{self.name} logged no {event} {facts}: {self.lines()[-5:]}")

    def trouble(self, expected):
        """Every line of its whole log that no healthy node writes, but for *expected* events."""
        self._log_starts = 0
        return [
            line
            for line in self.lines()
            if "unparsed" in line
            or "exception" in line
            or (line["level"] == "error" and line["event"] not in expected)
        ]


def _parsed(line):
    try:
        return json.loads(line)
    except ValueError:  # a traceback, most of all
        return {"unparsed": line}


@define(eq=False)
class Lab:
    """The daemons of one test. Each is handed all records and the addresses of all others.

    Those declared before a start know each other from then on.
    """

    folder: Path
    daemons: dict[str, Daemon] = field(factory=dict)
    expected: set[str] = field(factory=set)
    """Events of level error that the test brings about."""
    papers: Papers = field(init=False)

    @papers.default
    def _in_folder(self):
        return Papers(self.folder / "papers")

    def declare(self, name, *roles, host="127.0.0.1", services=None, listeners=(), **node):
        """Add a daemon: `fabric-ingress` for the role ingress. *node* adds to its [node] table."""
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        shown = f"[{host}]" if ":" in host else host
        document = {
            "node": {"name": name, "roles": list(roles), **node},
            "quic": {"listen": f"{shown}:{free_port(socket.SOCK_DGRAM, host)}"},
            "log": {"format": "json"},
            "services": services or {},
            "listeners": list(listeners),
        }
        program = "cli.fabric_ingress" if "ingress" in roles else "cli.fabricd"
        self.papers.write_key(name, folder / "node.key")
        self.daemons[name] = Daemon(name, folder, program, document)
        return self.daemons[name]

    def grant(self, service, *open_to, **fields):
        """Say who may open *service*, and by *fields* what else its record says."""
        self.papers.publish(self.papers.fabric.service(service, open_to=open_to, **fields))

    def introduce(self):
        """Sign a record of every daemon, and hand all records and addresses to each."""
        for daemon in self.daemons.values():
            roles = tuple(sorted(daemon.document["node"]["roles"]))
            self.papers.publish(self.papers.fabric.node(daemon.name, area="lab", roles=roles))
        for daemon in self.daemons.values():
            others = [each for each in self.daemons.values() if each is not daemon]
            daemon.hand(self.papers, seeds=[each.udp_address for each in others])

    async def start(self):
        """Introduce and start all of them, and wait until each has met each."""
        self.introduce()
        async with trio.open_nursery() as nursery:
            for daemon in self.daemons.values():
                nursery.start_soon(daemon.start)
        for daemon in self.daemons.values():
            await daemon.connected(*(self.daemons.keys() - {daemon.name}))
            for listener in daemon.document["listeners"]:
                await daemon.knows(listener["service"], *self._offering(listener["service"]))

    def _offering(self, service):
        return [each.name for each in self.daemons.values() if service in each.backed]

    async def end(self):
        """Kill what still runs. Raises :exc:`AssertionError` for a crash or an error logged."""
        for daemon in self.daemons.values():
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.process.kill()
        for daemon in self.daemons.values():
            if daemon.process is not None:
                await daemon.ended()
        trouble = {
            daemon.name: found
            for daemon in self.daemons.values()
            if daemon.log_file.exists()
            and (
                found := daemon.trouble(self.expected)
                + [code for code in daemon.return_codes if code not in ENDED_AS_ASKED]
            )
        }
        assert not trouble, trouble
