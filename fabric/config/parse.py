"""TOML to :class:`NodeConfig`: every mistake of a file at once, each with its place and remedy.

Three steps: each table becomes a :data:`Part`, the settings of it that could be read; rules hold
the parts against each other; and only from parts without a mistake is a configuration built.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import NOTHING, field, fields, frozen

from fabric.config import schema
from fabric.config.model import (
    AdminConfig,
    ListenerConfig,
    LogConfig,
    NodeConfig,
    QuicConfig,
    ServiceConfig,
)
from fabric.config.rules import Part, Parts, mistakes_between
from fabric.config.values import Reader, Wrong, printable, read_name, shown, step
from fabric.core.codec.records import decode_record
from fabric.errors import ConfigError
from fabric.net.tls import load_key
from fabric.store.signed_files import load_records, load_trust_root


def load_config(path: Path) -> NodeConfig:
    """Read and check the file at *path*; relative paths in it start at its folder.

    Reads the files that it names too, so that a node which starts has what it needs. Raises
    :exc:`ConfigError` with all mistakes, each "path.to.field: what is wrong; remedy".
    """
    return parse_config(_document(path), base=path.absolute().parent)


def parse_config(document: Mapping[str, object], *, base: Path) -> NodeConfig:
    """As :func:`load_config`, of what a file in the folder *base* would hold."""
    reading = _Reading()
    parts = reading.parts(document)
    reading.files(parts.node, base)
    reading.mistakes.extend(mistakes_between(parts))
    if reading.mistakes:
        raise ConfigError(reading.mistakes)
    return _built(parts, base)


def _document(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        mistake = f"cannot be read ({error.strerror}); name a readable file"
    except RecursionError:
        mistake = "is nested too deep; no setting lies deeper than three tables"
    except ValueError as error:  # not UTF-8, not TOML, or a number longer than Python reads
        mistake = f"is not TOML ({error}); mend its syntax"
    raise ConfigError([f"{path}: {mistake}"])


@frozen
class _Reading:
    """Reads tables into parts; whatever cannot be used becomes a line of :attr:`mistakes`."""

    mistakes: list[str] = field(factory=list)

    def parts(self, document: Mapping[str, object]) -> Parts:
        self._unknown("", document, schema.TABLES)
        return Parts(
            node=self._part("node", document.get("node", {}), schema.NODE, NodeConfig),
            quic=self._part("quic", document.get("quic", {}), schema.QUIC, QuicConfig),
            admin=self._part("admin", document.get("admin", {}), schema.ADMIN, AdminConfig),
            log=self._part("log", document.get("log", {}), schema.LOG, LogConfig),
            services=self._services(document.get("services", {})),
            listeners=self._list("listeners", document, schema.LISTENER, ListenerConfig),
        )

    def files(self, node: Part, base: Path) -> None:
        """Read what the node starts with: its key, the fabric's trust root, signed records."""
        fabric = None
        if "key_file" in node:
            with self._mistakes_of("node.key"):
                load_key(base / node["key_file"])
        if "trust_root" in node:
            with self._mistakes_of("node.trust_root"):
                fabric = decode_record(load_trust_root(base / node["trust_root"]).payload).fabric
        for index, path in enumerate(node.get("records", ())):
            with self._mistakes_of(f"node.records[{index}]"):
                load_records([base / path], fabric=fabric)

    @contextmanager
    def _mistakes_of(self, place: str) -> Iterator[None]:
        """Take what the block raises about a file for mistakes of the setting that names it."""
        try:
            yield
        except ConfigError as error:
            for mistake in error.mistakes:
                self._wrong(place, printable(mistake))

    def _list(
        self, name: str, document: Mapping[str, object], keys: Iterable[schema.Key], model: type
    ) -> tuple[Part, ...]:
        tables = document.get(name, [])
        if type(tables) is not list:
            self._wrong(name, f"is not a list of tables; write it as [[{name}]]")
            return ()
        return tuple(
            self._part(f"{name}[{index}]", table, keys, model)
            for index, table in enumerate(tables)
        )

    def _services(self, tables: object) -> Mapping[str, Part]:
        if type(tables) is not dict:
            self._wrong("services", "is not a table; write it as [services.NAME]")
            return {}
        return {name: self._service(name, table) for name, table in tables.items()}

    def _service(self, name: str, table: object) -> Part:
        place = f"services.{step(name)}"
        self._read(place, name, read_name)
        part = self._part(place, table, schema.SERVICE, ServiceConfig)
        return part | {"name": name}

    def _part(self, place: str, table: object, keys: Iterable[schema.Key], model: type) -> Part:
        """The settings of *table*, the defaults of *model* among them, without what is wrong."""
        if type(table) is not dict:
            self._wrong(
                place, f"{shown(table)} is not a table; write its settings as the keys of one"
            )
            return {}
        self._unknown(f"{place}.", table, [key.name for key in keys])
        part = _defaults(model)
        for key in keys:
            if key.name in table:
                part.pop(key.setting, None)
                part |= self._read(f"{place}.{key.name}", table[key.name], key.read, key.setting)
            elif key.setting not in part:
                self._wrong(f"{place}.{key.name}", "is missing; set it")
        return part

    def _read(self, place: str, value: object, read: Reader[object], setting: str = "") -> Part:
        try:
            return {setting: read(value)}
        except Wrong as wrong:
            for below, sentence in wrong.mistakes:
                self._wrong(place + below, sentence)
            return {}

    def _unknown(self, place: str, table: Iterable[str], known: Iterable[str]) -> None:
        names = list(known)
        for name in table:
            if name not in names:
                remedy = _meant(place, name, names)
                self._wrong(f"{place}{step(name)}", f"no such setting; {remedy}")

    def _wrong(self, place: str, sentence: str) -> None:
        self.mistakes.append(f"{place}: {sentence}")


def _meant(place: str, name: str, names: list[str]) -> str:
    """What whoever wrote *name* may have meant."""
    table = "services.NAME." if place.startswith("services.") else place
    if moved := schema.MOVED.get(f"{table}{name}"):
        return moved
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"


def _defaults(model: type) -> Part:
    given = {one.name: one.default for one in fields(model) if one.default is not NOTHING}
    return {
        name: default.factory() if hasattr(default, "factory") else default
        for name, default in given.items()
    }


def _built(parts: Parts, base: Path) -> NodeConfig:
    node, admin = parts.node, parts.admin
    return NodeConfig(
        **node
        | {
            "key_file": base / node["key_file"],
            "trust_root": base / node["trust_root"],
            "records": tuple(base / path for path in node["records"]),
            "state_dir": base / node["state_dir"],
            "quic": QuicConfig(**parts.quic),
            "admin": AdminConfig(**admin | {"socket": admin["socket"] and base / admin["socket"]}),
            "log": LogConfig(**parts.log),
            "services": {name: ServiceConfig(**one) for name, one in parts.services.items()},
            "listeners": tuple(ListenerConfig(**one) for one in parts.listeners),
        }
    )
