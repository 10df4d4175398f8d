"""Services that the operator added to a running node: kept in its state, back after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.config import HostPort, ServiceConfig
from fabric.errors import ConfigError, RefusedError
from fabric.runtime.services import Services
from fabric.runtime.state import read_document, save_document

FILE: Final = "exposures.json"


@define(eq=False)
class Exposures:
    """What was exposed goes before the configuration's service of the same name, until it is
    taken back. Whoever serves backends is told by :meth:`Services.next_change`."""

    services: Services
    state_dir: Path
    configured: Mapping[str, ServiceConfig]
    _exposed: dict[str, ServiceConfig] = field(init=False, factory=dict)
    _turn: trio.Lock = field(init=False, factory=trio.Lock)
    """One change at a time: each goes by what is on the disk once the one before is."""

    def restore(self, exposed: Mapping[str, ServiceConfig]) -> None:
        """Declare what was exposed before the restart: see :func:`read_exposed`."""
        self._exposed = dict(exposed)
        for service in exposed.values():
            self.services.declare(service)

    async def expose(self, service: ServiceConfig) -> None:
        """Declare *service* once the disk has it.

        Raises :exc:`OSError`, or :exc:`RefusedError` where no signed record permits this node to
        offer it, or where the configuration has a backend for the name, which would be shadowed,
        over restarts too. Then nothing changed. One that was permitted once stays exposed: it is
        withheld while it is not.
        """
        if (code := self.services.may_offer(service.name)) is not None:
            raise RefusedError(code)
        configured = self.configured.get(service.name)
        if configured is not None and configured.backend is not None:
            raise RefusedError(Code.CONFIGURED_SERVICE)
        async with self._turn:
            await self._save({**self._exposed, service.name: service})
            self.services.declare(service)

    async def unexpose(self, name: str) -> None:
        """Take back what :meth:`expose` did; the configuration's own service returns.

        Raises :exc:`RefusedError` for a service that was not exposed.
        """
        async with self._turn:
            if name not in self._exposed:
                raise RefusedError(Code.UNKNOWN_SERVICE, f"{name!r} was not exposed here.")
            await self._save({key: each for key, each in self._exposed.items() if key != name})
            if (configured := self.configured.get(name)) is not None:
                self.services.declare(configured)
            else:
                self.services.withdraw(name)

    async def _save(self, exposed: dict[str, ServiceConfig]) -> None:
        document = {name: _entry(service) for name, service in exposed.items()}
        await save_document(self.state_dir / FILE, document)
        self._exposed = exposed


def read_exposed(state_dir: Path) -> dict[str, ServiceConfig]:
    """Return what the disk holds of a node's exposures.

    Raises :exc:`ConfigError` for a damaged file. Blocks for the disk.
    """
    path = state_dir / FILE
    document = read_document(path) or {}
    return {name: _read(path, name, entry) for name, entry in document.items()}


def _read(path: Path, name: str, entry: Any) -> ServiceConfig:  # noqa: ANN401 -- JSON
    try:
        return ServiceConfig(name=name, backend=HostPort.parse(entry["backend"]))
    except (KeyError, TypeError, ValueError) as error:
        what = f"{path}: {name}: is damaged ({error}); expose it again"
        raise ConfigError([what]) from error


def _entry(service: ServiceConfig) -> dict[str, object]:
    return {"backend": str(service.backend)}
