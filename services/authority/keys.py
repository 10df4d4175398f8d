"""The keys of a fabric's roles: one file each, named by role and number, for their owner alone.

A key file is a node's key file: 64 hexadecimal digits, mode 0600. Which role a key has is said by
the trust root and not by its file's name, which only helps people to tell the files apart. A file
may be taken away and kept elsewhere; what needs it then says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final, TypeAlias

from attrs import field, frozen

from fabric import durable
from fabric.codes import Code
from fabric.core.records import KeyId, KeyState, Role, TrustRoot, key_id_of
from fabric.errors import ConfigError
from fabric.net.tls import SEED_BYTES, NodeKey, load_key
from services.authority.refusals import AuthorityError

Draw: TypeAlias = Callable[[int], bytes]
"""So many bytes that nobody can guess: ``os.urandom``, but in tests."""

SUFFIX: Final = ".key"
SHORT: Final = 8
"""Characters of a key id that people are shown, and may type: one in 2^40 is mistaken."""


@frozen
class KeyRing:
    """The keys whose files are in *folder*, by id."""

    folder: Path
    _keys: dict[KeyId, NodeKey] = field(factory=dict, repr=False)

    @classmethod
    def load(cls, folder: Path) -> KeyRing:
        """Read every key file. Raises :exc:`AuthorityError` for one that cannot be used."""
        ring = cls(folder)
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            ring._take(read_key(path))
        return ring

    def draw(self, name: str, draw: Draw) -> NodeKey:
        """Make the key file *name*. Raises :exc:`FileExistsError`."""
        return self._take(write_key(self.folder / f"{name}{SUFFIX}", draw))

    def present(self, ids: Iterable[str]) -> list[NodeKey]:
        """Those of *ids* whose files are here, in the order given."""
        return [self._keys[KeyId(each)] for each in ids if each in self._keys]

    def unnamed(self, role: Role, root: TrustRoot) -> list[NodeKey]:
        """Keys drawn for *role* that are in no trust root: their command was broken off."""
        return [
            key
            for key_id, key in self._keys.items()
            if key_id not in root.keys and _name(key).rpartition("-")[0] == role
        ]

    def next_name(self, role: Role, root: TrustRoot) -> str:
        """The name of the next key of *role*: no file, here or taken away, has it."""
        number = len(root.roles[role].keys) + 1 if role in root.roles else 1
        while (self.folder / f"{role}-{number}{SUFFIX}").exists():
            number += 1
        return f"{role}-{number}"

    def name_of(self, key_id: str) -> str:
        """The name of the key's file; empty where it is held elsewhere."""
        key = self._keys.get(KeyId(key_id))
        return _name(key) if key else ""

    def find(self, told: str, root: TrustRoot) -> KeyId:
        """The key of *root* that *told* means: its file's name, its id, or the id's beginning."""
        named = [key_id for key_id, key in self._keys.items() if _name(key) == told]
        begun = [key_id for key_id in root.keys if len(told) >= 4 and key_id.startswith(told)]
        found = sorted({*named, *begun} & set(root.keys))
        if len(found) == 1:
            return KeyId(found[0])
        raise AuthorityError(
            "ambiguous_key" if found else "unknown_key_id",
            f"{told!r} means {len(found) or 'none'} of the trust root's keys.",
            "`fabricctl root show` lists them; give a key's id, or the name of its file.",
        )

    def _take(self, key: NodeKey) -> NodeKey:
        self._keys[key_id_of(key.public)] = key
        return key


def active(root: TrustRoot, role: str) -> tuple[str, ...]:
    """The ids of the keys that act for *role* now."""
    held = root.roles.get(role)
    ids = held.keys if held else ()
    return tuple(each for each in ids if root.keys[each].state is KeyState.ACTIVE)


def needed(root: TrustRoot, role: str, ring: KeyRing) -> list[NodeKey]:
    """As many keys as *role* takes. Raises :exc:`AuthorityError` where fewer are here."""
    threshold = root.roles[role].threshold
    ids = active(root, role)
    here = ring.present(ids)
    if len(here) >= threshold:
        return here[:threshold]
    raise AuthorityError.of(
        Code.NOT_AN_AUTHORITY,
        f"{ring.folder} holds {len(here)} of the {threshold} {role} keys that this takes, "
        f"of {shorts(ids)}.",
        f"Bring the key files that are kept elsewhere to {ring.folder}, or do it where they are.",
    )


def shorts(ids: Collection[str]) -> str:
    """Key ids as people are shown them."""
    return ", ".join(each[:SHORT] for each in ids) or "none"


def read_key(path: Path) -> NodeKey:
    """As :func:`~fabric.net.tls.load_key`; raises :exc:`AuthorityError`."""
    try:
        return load_key(path)
    except ConfigError as error:
        what, _, remedy = str(error).partition("; ")
        raise AuthorityError.of(Code.NOT_AN_AUTHORITY, f"{what}.", f"{remedy}.") from error


def write_key(path: Path, draw: Draw = os.urandom) -> NodeKey:
    """Draw a key and keep it at *path*, mode 0600. Raises :exc:`FileExistsError`.

    Unlike a node's own first start, this makes no certificate: no role's key is ever in TLS.
    """
    key = NodeKey.from_seed(draw(SEED_BYTES), file=path)
    durable.create_file(path, key.seed.hex().encode() + b"\n")
    return key


def _name(key: NodeKey) -> str:
    return key.file.stem if key.file else ""
