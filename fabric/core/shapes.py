"""What a field of a frame may hold: attrs validators that ask for exact types and hard limits.

They run whenever a frame is made, whoever makes it. A frame of ours that breaks one is a bug and
raises here; the codec turns the same exceptions into the peer's fault when the bytes were theirs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Shape: TypeAlias = Callable[[object, Any, Any], None]
"""An attrs validator: (instance, attribute, value). Raises ValueError or TypeError."""

UINT64 = 2**64 - 1


def octets(size: int) -> Shape:
    """Exactly *size* bytes."""

    def check(_frame: object, attribute: Any, value: object) -> None:  # noqa: ANN401 -- attrs
        if type(value) is not bytes or len(value) != size:
            raise ValueError(f"{attribute.name} is not {size} bytes")

    return check


def octets_up_to(most: int, *, least: int = 0) -> Shape:
    """*least* to *most* bytes."""

    def check(_frame: object, attribute: Any, value: object) -> None:  # noqa: ANN401 -- attrs
        if type(value) is not bytes or not least <= len(value) <= most:
            raise ValueError(f"{attribute.name} is not {least} to {most} bytes")

    return check


def number(*, least: int = 0, most: int = UINT64) -> Shape:
    """An integer from *least* to *most*, both allowed; ``True`` is not one."""

    def check(_frame: object, attribute: Any, value: object) -> None:  # noqa: ANN401 -- attrs
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{attribute.name} is not a number from {least} to {most}")

    return check


def text(*, most: int, least: int = 1) -> Shape:
    """Printable text of *least* to *most* characters: it ends up in logs and terminals."""

    def check(_frame: object, attribute: Any, value: object) -> None:  # noqa: ANN401 -- attrs
        if type(value) is not str or not least <= len(value) <= most or not value.isprintable():
            raise ValueError(f"{attribute.name} is not {least} to {most} printable characters")

    return check


def truth(_frame: object, attribute: Any, value: Any) -> None:  # noqa: ANN401 -- attrs
    """``True`` or ``False``; 1 is neither."""
    if type(value) is not bool:
        raise ValueError(f"{attribute.name} is not true or false")


def maybe(shape: Shape) -> Shape:
    """*shape*, or nothing."""

    def check(frame: object, attribute: Any, value: object) -> None:  # noqa: ANN401 -- attrs
        if value is not None:
            shape(frame, attribute, value)

    return check


def sequence(each: Shape, *, most: int, least: int = 0) -> Shape:
    """A tuple of *least* to *most* items, every one of shape *each*."""

    def check(frame: object, attribute: Any, value: object) -> None:  # noqa: ANN401 -- attrs
        if type(value) is not tuple or not least <= len(value) <= most:
            raise ValueError(f"{attribute.name} is not a list of {least} to {most} items")
        for item in value:
            each(frame, attribute, item)

    return check


def row(*shapes: Shape) -> Shape:
    """A tuple of exactly these shapes."""

    def check(frame: object, attribute: Any, value: object) -> None:  # noqa: ANN401 -- attrs
        if type(value) is not tuple or len(value) != len(shapes):
            raise ValueError(f"{attribute.name} is not a list of {len(shapes)} items")
        for shape, item in zip(shapes, value, strict=True):
            shape(frame, attribute, item)

    return check


def ascending(each: Shape, *, most: int) -> Shape:
    """At most *most* items of shape *each*, sorted, none twice: one set has one spelling."""
    items = sequence(each, most=most)

    def check(record: object, attribute: Any, value: Any) -> None:  # noqa: ANN401 -- attrs
        items(record, attribute, value)
        if any(one >= two for one, two in itertools.pairwise(value)):
            raise ValueError(f"{attribute.name} is not sorted, or names one item twice")

    return check


def mapping(key: Shape, value: Shape, *, most: int) -> Shape:
    """At most *most* pairs."""

    def check(record: object, attribute: Any, pairs: Any) -> None:  # noqa: ANN401 -- attrs
        if not isinstance(pairs, Mapping) or len(pairs) > most:
            raise ValueError(f"{attribute.name} is not an object of at most {most} entries")
        for name, item in pairs.items():
            key(record, attribute, name)
            value(record, attribute, item)

    return check


def instance(kind: type) -> Shape:
    """An object of *kind*, which has checked itself."""

    def check(_record: object, attribute: Any, value: object) -> None:  # noqa: ANN401 -- attrs
        if type(value) is not kind:
            raise ValueError(f"{attribute.name} is not a {kind.__name__}")

    return check
