"""The kinds of single values that settings take, and how strictly each is read.

TOML's types are taken exactly: no text stands for a number, and a boolean is no integer. A
reader returns the value or raises :exc:`Wrong` with what is wrong and how to mend it.
"""

from __future__ import annotations

import grp
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

from fabric.config.address import HostPort
from fabric.core.records import MOST_CANDIDATES

LONGEST_DURATION = 366 * 86400.0
"""Seconds. More is a slip of the unit."""

LONGEST_CANDIDATE = 80
"""Characters of ``host:port`` that an endpoint record takes."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_LONGEST_SHOWN = 60

T = TypeVar("T")
Items = TypeVar("Items")
Reader: TypeAlias = Callable[[object], T]


class Wrong(Exception):
    """One value's mistakes: pairs of the place below the value ("", "[2]") and a sentence."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.mistakes: tuple[tuple[str, str], ...] = (("", f"{what}; {remedy}"),)

    @classmethod
    def among(cls, mistakes: list[tuple[str, str]]) -> Wrong:
        """One exception for the *mistakes* of several items."""
        wrong = cls("some items are wrong", "see each")
        wrong.mistakes = tuple(mistakes)
        return wrong


def shown(value: object) -> str:
    """*value* as a mistake quotes it: one line, no longer than a person needs to find it."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"  # Python refuses to print the largest that TOML can spell
    text = ascii(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def printable(text: str) -> str:
    """*text* on one line, whatever a path or a file in it may hold."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def step(key: str) -> str:
    """*key* as a place names it: as it stands where TOML takes it without quotes."""
    return key if _BARE_KEY.match(key) else shown(key)


def read_text(value: object) -> str:
    if type(value) is not str:
        raise Wrong(f"{shown(value)} is not a string", "put it in quotes")
    return value


def read_name(value: object) -> str:
    if not _NAME.match(text := read_text(value)):
        raise Wrong(
            f"{shown(text)} is no name",
            "use 1 to 63 letters, digits, '.', '_', '-', the first and last a letter or digit",
        )
    return text


def read_switch(value: object) -> bool:
    if type(value) is not bool:
        raise Wrong(f"{shown(value)} is not true or false", "write true or false, without quotes")
    return value


def read_path(value: object) -> Path:
    text = read_text(value)
    if not text or "\0" in text:
        raise Wrong(f"{shown(text)} is no path", "name a file or folder")
    return Path(text)


def read_socket_path(value: object) -> Path | None:
    return None if value == "" else read_path(value)


def read_group(value: object) -> str:
    """A name of the system's group database, or nothing."""
    text = read_text(value)
    try:
        if text:
            grp.getgrnam(text)
    except (KeyError, ValueError):
        raise Wrong(
            f"no group {shown(text)} on this machine", "make it with groupadd, or name another"
        ) from None
    return text


def _host_port(value: object, remedy: str) -> HostPort:
    text = read_text(value)
    try:
        return HostPort.parse(text)
    except ValueError as error:
        raise Wrong(f"{shown(text)}: {error}", remedy) from None


def read_listen(value: object) -> HostPort:
    """Where to listen: an address, since a name may stand for several; port 0 is legal."""
    remedy = "write ADDRESS:PORT, such as 127.0.0.1:8080 or [::]:8080"
    place = _host_port(value, remedy)
    if not place.is_address:
        raise Wrong(f"{shown(value)}: its host is no IP address", remedy)
    return place


def read_target(value: object) -> HostPort:
    """Where to connect: a name or an address; port 0 leads nowhere."""
    remedy = "write HOST:PORT, such as 127.0.0.1:8000 or [2001:db8::1]:4433"
    place = _host_port(value, remedy)
    if place.port == 0:
        raise Wrong(f"{shown(value)}: nothing can be reached at port 0", remedy)
    return place


def number(lowest: int, highest: int, unit: str) -> Reader[int]:
    """A whole number of *unit* from *lowest* to *highest*."""

    def read(value: object) -> int:
        if type(value) is not int:
            raise Wrong(f"{shown(value)} is not a whole number", f"write a number of {unit}")
        if not lowest <= value <= highest:
            raise Wrong(f"{shown(value)} is out of range", f"choose {lowest} to {highest} {unit}")
        return value

    return read


def duration(*, zero: str) -> Reader[float]:
    """Seconds, whole or not. *zero* says what 0 stands for; empty: 0 is refused."""

    def read(value: object) -> float:
        if type(value) is not int and type(value) is not float:
            raise Wrong(f"{shown(value)} is not a number", "write a number of seconds")
        if 0 < value <= LONGEST_DURATION or (zero and value == 0):
            return float(value)
        none = f", or 0 for {zero}" if zero else ""
        raise Wrong(
            f"{shown(value)} is no duration", f"choose up to {LONGEST_DURATION:.0f} seconds{none}"
        )

    return read


def choice(*options: str) -> Reader[str]:
    """One of a few words."""

    def read(value: object) -> str:
        if (text := read_text(value)) not in options:
            among = ", ".join(f'"{option}"' for option in options)
            raise Wrong(f"{shown(text)} is not known here", f"choose among {among}")
        return text

    return read


def several(item: Reader[T], gather: Callable[[list[T]], Items]) -> Reader[Items]:
    """A list of *item*, put together by *gather*."""

    def read(value: object) -> Items:
        if type(value) is not list:
            raise Wrong(f"{shown(value)} is not a list", "put it in [brackets]")
        return gather(_read_each([(f"[{i}]", part) for i, part in enumerate(value)], item))

    return read


def _read_each(parts: list[tuple[str, object]], read: Reader[T]) -> list[T]:
    """Read all, or raise one :exc:`Wrong` with the mistakes of each under its own place."""
    good: list[T] = []
    mistakes: list[tuple[str, str]] = []
    for place, part in parts:
        try:
            good.append(read(part))
        except Wrong as wrong:
            mistakes += [(place + below, sentence) for below, sentence in wrong.mistakes]
    if mistakes:
        raise Wrong.among(mistakes)
    return good


read_names: Reader[frozenset[str]] = several(read_name, frozenset)

read_paths: Reader[tuple[Path, ...]] = several(read_path, tuple)


def read_meeting_place(value: object) -> HostPort:
    """Where other nodes are, or this one is to others: as a target, and no wildcard."""
    place = read_target(value)
    if place.is_wildcard:
        raise Wrong(f"{shown(value)}: a wildcard leads nowhere", "name an address or a host")
    return place


read_seeds: Reader[tuple[HostPort, ...]] = several(read_meeting_place, tuple)


def read_advertised(value: object) -> tuple[HostPort, ...]:
    """Where others may reach this node: what its endpoint record can hold, and no more."""
    places = several(_read_candidate, tuple[HostPort, ...])(value)
    if len(places) > MOST_CANDIDATES:
        raise Wrong(
            f"{len(places)} addresses; {MOST_CANDIDATES} are the most",
            "name those that others really reach, best first",
        )
    return places


def _read_candidate(value: object) -> HostPort:
    place = read_meeting_place(value)
    if len(str(place)) > LONGEST_CANDIDATE:
        raise Wrong(
            f"{shown(value)}: more than {LONGEST_CANDIDATE} characters",
            "give it a shorter name, or write the address itself",
        )
    return place
