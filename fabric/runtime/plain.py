"""What may be said aloud: any value as plain JSON, and everything unknown by its type alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import TypeAlias

from fabric.codes import Code

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"

_DEPTH = 8
"""Deeper is cut: a snapshot is four levels deep, and a cycle must not end a process."""


def plain(value: object, depth: int = _DEPTH) -> Plain:
    """Return *value* in JSON's own types.

    A :class:`Code` becomes its label, a path its text, an exception ``Type: message``. Bytes
    and any other object show their type (and size) only, never their content: keys are bytes
    and objects, and this is the one door to logs, events and the admin socket.
    """
    match value:
        case Code():
            return value.label
        case None | bool() | int() | float() | str():
            return value
        case PurePath():
            return str(value)
        case BaseException():
            return f"{type(value).__name__}: {value}"
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Mapping() | list() | tuple() | AbstractSet() if depth == 0:
            return "<deeper>"
        case Mapping():
            return {str(plain(key)): plain(item, depth - 1) for key, item in value.items()}
        case list() | tuple():
            return [plain(item, depth - 1) for item in value]
        case AbstractSet():
            return [plain(item, depth - 1) for item in sorted(value, key=str)]
        case _:
            return f"<{type(value).__name__}>"


_FLAT = {str, int, float, bool, type(None)}


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def to_json(fields: Mapping[str, object]) -> str:
    """Return *fields* as one line of ASCII JSON. Raises nothing, whatever the values are.

    NaN and infinity, which JSON has no word for, become null; escaped as ASCII, text from
    outside can neither break a line nor hold half a surrogate pair.
    """
    try:
        if _FLAT.issuperset(map(type, fields.values())):
            return _encode(fields)
        return _encode(plain(fields))
    except ValueError:  # NaN or infinity somewhere
        return _encode(_finite(plain(fields)))


def _finite(value: Plain) -> Plain:
    match value:
        case float() if value != value or value in (float("inf"), float("-inf")):
            return None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list():
            return [_finite(item) for item in value]
        case _:
            return value
