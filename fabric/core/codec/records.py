"""Records to the bytes that are signed, and back.

One record has one spelling
===========================

A payload is a JSON object in ASCII: keys sorted, no blanks, every number an integer of at most 53
bits (what any reader of JSON holds exactly), at most 16 levels deep. So it is canonical exactly
when writing again what was read gives the same bytes, which also tells a key that stands twice.
Bytes are lower-case hex, enums their value, tuples lists, mappings objects.

An encoder leaves out each field that has its default, ``v`` excepted. A default can therefore
never change once it was released: absence would come to mean something else.

Two releases, one fabric
========================

===============================================  ==============================================
a later release writes                           this one
===============================================  ==============================================
a field unknown here                             uses the record without it
a field unknown here, named in ``crit``          keeps it as :class:`Opaque`
a known kind with a higher ``v``                 keeps it as :class:`Opaque`
a kind unknown here                              keeps it as :class:`Opaque`
a value that a known field cannot have           refuses it: raise ``v`` for that
===============================================  ==============================================

What cannot be interpreted is still ordered, so that it can be kept and passed on: it has to carry
``epoch`` and ``generation``, or ``sequence``, or ``version``. These four names mean nothing else
in any kind, ever. A known kind keeps the order that it has: else a node could replace, by a
sequence of its own, what only the directory may say.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from json import JSONDecoder, JSONEncoder
from typing import Any, Final, NoReturn, get_args

import attrs
from attrs import frozen
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from fabric.codes import Code
from fabric.core.kinds import KINDS
from fabric.core.records import (
    MOST_BYTES,
    MOST_OWN_BYTES,
    NODE,
    NodeRecord,
    Opaque,
    Record,
)
from fabric.errors import LocalProtocolError, RecordError

MOST_DEPTH: Final = 16
"""Levels of objects and lists. Known kinds need five; a verdict must not hang on a call stack."""

MOST_NUMBER: Final = 2**53 - 1

_RENAMED: Final[Mapping[type, Mapping[str, str]]] = {NodeRecord: {"key_bytes": "key"}}
"""Where the wire has another name than the object, which has a method of that name."""

_ORDERS: Final = (("epoch", "generation"), ("sequence",), ("version",))


def encode_record(record: Record) -> bytes:
    """Return the one spelling of *record*: what is signed.

    An :class:`Opaque` has no other spelling than the payload it was read from, and is refused.
    """
    form = _FORMS.get(record.KIND) if not isinstance(record, Opaque) else None
    if form is None or type(record) is not form.kind:
        raise LocalProtocolError(f"a {type(record).__name__} cannot be written")
    return _spell({**form.unstructure(record), "kind": record.KIND})


def decode_record(payload: bytes) -> Record:
    """Return what *payload* says; :class:`Opaque` where this release cannot interpret it.

    Raises :exc:`~fabric.errors.RecordError`, and nothing else whatever the bytes.
    """
    plain = _parse(payload)
    form = _form_of(plain)
    own_word = "sequence" in plain if form is None else form.own_word
    if own_word and len(payload) > MOST_OWN_BYTES:
        raise RecordError(Code.RECORD_TOO_LARGE, f"{len(payload)} bytes of a node's own word")
    try:
        if form is None or not form.understands(plain):
            return _opaque(plain, form)
        record: Record = form.structure(plain, form.kind)
        return record
    except KeyError as error:
        raise _malformed(f"{error.args[0]!r} is missing") from error
    except (ValueError, TypeError) as error:
        raise _malformed(str(error)) from error


def _malformed(detail: str) -> RecordError:
    return RecordError(Code.RECORD_MALFORMED, detail[:200])


# -- JSON, of which records use a part --
def _integer(digits: str) -> int:
    if abs(number := int(digits)) > MOST_NUMBER:  # Python reads 4300 digits at most
        raise ValueError("a number has more than 53 bits")
    return number


def _no_number(digits: str) -> NoReturn:
    raise ValueError(f"{digits[:20]} is not an integer")


_read = JSONDecoder(parse_int=_integer, parse_float=_no_number, parse_constant=_no_number).decode
_write = JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


def _spell(plain: object) -> bytes:
    return _write(plain).encode("ascii")


def _parse(payload: bytes) -> dict[str, Any]:
    if len(payload) > MOST_BYTES:
        raise RecordError(Code.RECORD_TOO_LARGE, f"{len(payload)} bytes")
    try:
        written = payload.decode("ascii")
        plain = _read(written)
        again = _write(plain)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"not JSON as records use it: {error}") from error
    if type(plain) is not dict:
        raise _malformed("not an object")
    if again != written:
        raise RecordError(Code.RECORD_NOT_CANONICAL, "")
    if payload.count(b"{") + payload.count(b"[") > MOST_DEPTH and _is_deep(plain, MOST_DEPTH):
        raise _malformed(f"more than {MOST_DEPTH} levels")
    return plain


def _is_deep(plain: object, levels: int) -> bool:
    """Return whether *plain* nests more than *levels* objects and lists."""
    match plain:
        case dict():
            return not levels or any(_is_deep(each, levels - 1) for each in plain.values())
        case list():
            return not levels or any(_is_deep(each, levels - 1) for each in plain)
    return False


# -- fields, each by its declared type --
# What a hook cannot convert it leaves as it is: each field has a validator that asks for exact
# types and sizes, refuses it, and can name the field.
_converter: Final = Converter(
    detailed_validation=False, unstruct_collection_overrides={Mapping: dict}
)


def _as_it_is(value: Any, _kind: object) -> Any:  # noqa: ANN401 -- JSON
    return value


def _octets(value: Any, _kind: object = bytes) -> Any:  # noqa: ANN401 -- JSON
    try:
        octets = bytes.fromhex(value)
    except (ValueError, TypeError):
        return value
    return octets if octets.hex() == value else value  # fromhex takes blanks and upper case too


def _value(value: Any, kind: type[enum.StrEnum]) -> Any:  # noqa: ANN401 -- JSON
    try:
        return kind(value)
    except ValueError:
        return value


for _scalar in (int, str, bool):
    _converter.register_structure_hook(_scalar, _as_it_is)
_converter.register_structure_hook(enum.StrEnum, _value)
_converter.register_structure_hook(bytes, _octets)
_converter.register_unstructure_hook(bytes, bytes.hex)


def _is_tuple(kind: Any) -> bool:  # noqa: ANN401 -- a type, or a form of typing
    return getattr(kind, "__origin__", None) is tuple


def _is_mapping(kind: Any) -> bool:  # noqa: ANN401 -- a type, or a form of typing
    return getattr(kind, "__origin__", None) is Mapping


@_converter.register_structure_hook_factory(_is_tuple)
def _list_of(kind: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401 -- cattrs
    item, _ellipsis = get_args(kind)
    read = _converter.get_structure_hook(item)

    def structure(value: Any, _kind: object) -> Any:  # noqa: ANN401 -- JSON
        return tuple([read(each, item) for each in value]) if type(value) is list else value

    return structure


@_converter.register_structure_hook_factory(_is_mapping)
def _object_of(kind: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401 -- cattrs
    _name, item = get_args(kind)
    read = _converter.get_structure_hook(item)

    def structure(value: Any, _kind: object) -> Any:  # noqa: ANN401 -- JSON
        if type(value) is not dict:
            return value
        return {name: read(each, item) for name, each in value.items()}

    return structure


@_converter.register_structure_hook_factory(attrs.has)
def _fields_of(kind: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401 -- cattrs
    made = make_dict_structure_fn(
        kind, _converter, _cattrs_detailed_validation=False, **_overrides(kind)
    )

    def structure(value: Any, kind: Any) -> Any:  # noqa: ANN401 -- JSON
        return made(value, kind) if type(value) is dict else value

    return structure


@_converter.register_unstructure_hook_factory(attrs.has)
def _plain_fields_of(kind: Any) -> Callable[[Any], dict[str, Any]]:  # noqa: ANN401 -- cattrs
    overrides = _overrides(kind)
    if issubclass(kind, Record):
        overrides["v"] = override(omit_if_default=False)
    return make_dict_unstructure_fn(kind, _converter, _cattrs_omit_if_default=True, **overrides)


def _overrides(kind: type) -> dict[str, Any]:
    return {name: override(rename=wire) for name, wire in _RENAMED.get(kind, {}).items()}


# -- kinds, prepared once --
@frozen
class _Form:
    kind: type[Record]
    names: frozenset[str]
    """Of all fields on the wire: what ``crit`` may name."""
    order: tuple[str, ...]
    own_word: bool
    structure: Callable[[Any, Any], Any]
    unstructure: Callable[[Any], dict[str, Any]]

    def understands(self, plain: dict[str, Any]) -> bool:
        """Return whether a record of this kind may be interpreted here."""
        version, crit = plain["v"], plain.get("crit")
        if type(version) is int and version > self.kind.VERSION:
            return False
        if type(crit) is not list:
            return True  # absent; or refused when it is read, as is what is no text in it
        return all(type(name) is not str or name in self.names for name in crit)


def _form(kind: type[Record]) -> _Form:
    renamed = _RENAMED.get(kind, {})
    names = frozenset(renamed.get(each.name, each.name) for each in attrs.fields(kind))
    return _Form(
        kind,
        names | {"kind"},
        next(order for order in _ORDERS if names.issuperset(order)),
        kind.AUTHOR == NODE,
        _converter.get_structure_hook(kind),
        _converter.get_unstructure_hook(kind),
    )


_FORMS: Final[Mapping[str, _Form]] = {name: _form(kind) for name, kind in KINDS.items()}


def _form_of(plain: dict[str, Any]) -> _Form | None:
    name = plain.get("kind")
    if type(name) is not str:
        raise _malformed("kind is not text")
    return _FORMS.get(name)


def _opaque(plain: dict[str, Any], form: _Form | None) -> Opaque:
    order = _order_names(plain)
    if form is not None and order != form.order:
        raise ValueError(f"a {form.kind.KIND} record is ordered by {' and '.join(form.order)}")
    numbers = [plain[name] for name in order]
    return Opaque(
        v=plain["v"],
        kind=plain["kind"],
        fabric=_octets(plain["fabric"]),
        subject=plain["subject"],
        issued_at=plain["issued_at"],
        expires_at=plain["expires_at"],
        revoked=plain.get("revoked", False),
        crit=_texts(plain.get("crit", []), tuple[str, ...]),
        ordered=(0, *numbers)[-2:],
        own_word=order == ("sequence",),
        author="" if form is None else str(form.kind.AUTHOR),
    )


_texts = _converter.get_structure_hook(tuple[str, ...])


def _order_names(plain: dict[str, Any]) -> tuple[str, ...]:
    found = [names for names in _ORDERS if not plain.keys().isdisjoint(names)]
    if len(found) != 1:
        raise ValueError("not ordered in exactly one way")
    return found[0]
