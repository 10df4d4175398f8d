"""The local fabric's folder, ``.fabric/``: where each node's file, key, log and process stand.

::

    .fabric/
      fabric.toml        the ports that were chosen, remembered across runs
      authority/         the fabric's authority: its keys, its trust root, what it signed
      lock               held by the one `up` or `down` at work
      NODE/node.toml     the node's configuration, NODE/node.key its key
      NODE/log.jsonl     what its process printed, one JSON object a line
      NODE/process.json  which process that is
      NODE/state/        the node's own; its admin socket is there
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from cli.client import AdminClient
from cli.exits import CommandError, NotReachedError
from fabric.config import NodeConfig, admin_socket_path, load_config
from fabric.errors import ConfigError

FOLDER = ".fabric"
AUTHORITY = "authority"
"""Name of the authority's folder, in the local fabric's."""
INSPECTED_NODE = "home-1"
FORWARDING_NODE = "home-1"
EXPOSING_NODE = "test-1"
"""The nodes that commands mean unless they are told another. What is exposed and what is
forwarded meet over QUIC, since the two are not the same."""


@frozen
class LocalFabric:
    """The folder of one local fabric. Paths only: nothing here says that it exists or runs."""

    root: Path

    @property
    def state_file(self) -> Path:
        return self.root / "fabric.toml"

    @property
    def authority(self) -> Path:
        return self.root / AUTHORITY

    @property
    def names(self) -> tuple[str, ...]:
        """Nodes that have a configuration here, by name."""
        return tuple(sorted(path.parent.name for path in self.root.glob("*/node.toml")))

    def folder(self, name: str) -> Path:
        return self.root / name

    def log_file(self, name: str) -> Path:
        return self.folder(name) / "log.jsonl"

    def config_file(self, name: str) -> Path:
        return self.folder(name) / "node.toml"

    def config(self, name: str) -> NodeConfig:
        """Raise :exc:`CommandError` for a name that is no node here, or a file with mistakes."""
        if name not in self.names:
            known = ", ".join(self.names)
            raise CommandError(
                "unknown_node", f"There is no node {name!r} in {self.root}.", f"Known: {known}."
            )
        path = self.config_file(name)
        try:
            return load_config(path)
        except ConfigError as error:
            raise CommandError(
                "config_mistakes",
                "\n".join((f"{path} has mistakes:", *(f"    {one}" for one in error.mistakes))),
                "Mend the file, or remove it: `fabricctl up` writes it anew.",
            ) from error

    def admin(self, name: str) -> AdminClient:
        return AdminClient(admin_socket_path(self.config(name)), name)


def fabric_here() -> LocalFabric:
    """Where ``up`` makes a fabric: ``$FABRIC_DIR``, else the one found upward, else here."""
    found = _found()
    return LocalFabric(found or Path.cwd() / FOLDER)


def existing_fabric() -> LocalFabric:
    """The fabric of ``$FABRIC_DIR``, else the nearest ``.fabric/`` from here upward."""
    found = _found()
    if found is None or not LocalFabric(found).names:
        raise NotReachedError(
            "no_local_fabric",
            f"There is no local fabric in {found or Path.cwd() / FOLDER} or above.",
            "`fabricctl up` makes one; $FABRIC_DIR names one that is elsewhere.",
        )
    return LocalFabric(found)


def _found() -> Path | None:
    if named := os.environ.get("FABRIC_DIR"):
        return Path(named).absolute()
    here = Path.cwd()
    candidates = (folder / FOLDER for folder in (here, *here.parents))
    return next((folder for folder in candidates if (folder / "fabric.toml").exists()), None)


@contextmanager
def only_one(fabric: LocalFabric) -> Iterator[None]:
    """Hold the fabric's lock: two commands that start or end processes must not cross."""
    fabric.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (fabric.root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(
                "fabric_busy",
                f"Another `up` or `down` is at work in {fabric.root}.",
                "Wait for it to finish.",
            ) from error
        yield
