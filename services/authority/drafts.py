"""What an operator says of nodes, services and the fabric, checked; not yet numbered or dated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, NamedTuple

from attrs import evolve, field, frozen

from fabric.config.values import Wrong, read_name
from fabric.core.identity import node_id_of
from fabric.core.records import FABRIC, NodeRecord, Policy, Role, ServiceRecord, Targets
from services.authority.refusals import AuthorityError
from services.authority.rotation import MOST_ROOT_KEYS


class Quorum(NamedTuple):
    """How many of how many keys a role takes. Written ``2/3``."""

    threshold: int
    keys: int

    @classmethod
    def parse(cls, text: str) -> Quorum:
        """Raises :exc:`ValueError` for what is not M/N with 1 <= M <= N <= 8."""
        threshold, _, keys = text.partition("/")
        if threshold.isdecimal() and keys.isdecimal():
            made = cls(int(threshold), int(keys))
            if 1 <= made.threshold <= made.keys <= MOST_ROOT_KEYS:
                return made
        raise ValueError(f"{text!r} is not M/N with 1 <= M <= N <= {MOST_ROOT_KEYS}")


USUAL_KEYS: Final[Mapping[Role, Quorum]] = MappingProxyType(
    {
        Role.ROOT: Quorum(1, 1),
        Role.DIRECTORY: Quorum(1, 1),
        Role.INTENT: Quorum(2, 3),
        Role.ORCHESTRATOR: Quorum(1, 1),
        Role.RECOVERY: Quorum(2, 3),
    }
)
"""What can put code everywhere, or override a rollout, takes two people; the rest takes one."""


def _once_each(some: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(some)))


def _in_order(some: Iterable[str]) -> tuple[str, ...]:
    return tuple(some)


@frozen(kw_only=True)
class About:
    """What is said of a node, besides its name and key; see :class:`NodeRecord`."""

    area: str
    site_id: str = ""
    locality_group: str = ""
    nat_group: str = ""
    roles: tuple[str, ...] = field(default=(), converter=_once_each)
    labels: Mapping[str, str] = field(factory=dict)
    critical: bool = False

    @classmethod
    def of(cls, record: NodeRecord) -> About:
        """What *record* says."""
        return cls(
            area=record.area,
            site_id=record.site_id,
            locality_group=record.locality_group,
            nat_group=record.nat_group,
            roles=record.roles,
            labels=record.labels,
            critical=record.critical,
        )


@frozen(kw_only=True)
class Grant:
    """What is said of a service, besides its name; see :class:`ServiceRecord`."""

    offer_by: tuple[str, ...] = field(default=(), converter=_in_order)
    open_to: tuple[str, ...] = field(default=(), converter=_in_order)
    edge_exposable: bool = False
    core: bool = False
    max_channels: int = 0


BOUNDS: Final = ("fanout", "hops", "full_mesh_up_to", "degree")
"""What :class:`Bounds` may name besides targets, as :class:`Policy` calls it too."""


@frozen(kw_only=True)
class Bounds:
    """What is said of the fabric as a whole; see :class:`Policy`. None leaves it as it is."""

    fanout: int | None = None
    hops: int | None = None
    full_mesh_up_to: int | None = None
    degree: int | None = None
    targets: Mapping[str, Targets] = field(factory=dict)
    """Of the roles named; those of others stay."""


def require_name(name: str) -> str:
    """*name*, if it is one. Raises :exc:`AuthorityError`."""
    with _checked():
        return read_name(name)


def node_draft(fabric: bytes, name: str, key: bytes, about: About, *, now: int) -> NodeRecord:
    """The record of node *name*. Raises :exc:`AuthorityError` for what no record can say."""
    with _checked():
        for each in (name, about.area, *about.roles, *about.labels):
            read_name(each)
        return NodeRecord(
            fabric=fabric,
            subject=node_id_of(key),
            issued_at=now,
            expires_at=now + NodeRecord.LIFE,
            epoch=0,
            generation=1,
            name=name,
            key_bytes=key,
            area=about.area,
            site_id=about.site_id,
            locality_group=about.locality_group,
            nat_group=about.nat_group,
            roles=about.roles,
            labels=about.labels,
            critical=about.critical,
        )


def service_draft(fabric: bytes, name: str, grant: Grant, *, now: int) -> ServiceRecord:
    """The record of service *name*. Raises :exc:`AuthorityError` for what no record can say."""
    with _checked():
        return ServiceRecord(
            fabric=fabric,
            subject=read_name(name),
            issued_at=now,
            expires_at=now + ServiceRecord.LIFE,
            epoch=0,
            generation=1,
            offer_by=grant.offer_by,
            open_to=grant.open_to,
            edge_exposable=grant.edge_exposable,
            core=grant.core,
            max_channels=grant.max_channels,
        )


def policy_draft(fabric: bytes, bounds: Bounds, held: Policy | None, *, now: int) -> Policy:
    """The policy *held*, or the usual one, changed by *bounds*. Raises as the others do."""
    usual = Policy(
        fabric=fabric,
        subject=FABRIC,
        issued_at=now,
        expires_at=now + Policy.LIFE,
        epoch=0,
        generation=1,
    )
    before = held or usual
    given = {name: value for name in BOUNDS if (value := getattr(bounds, name)) is not None}
    with _checked():
        for role in bounds.targets:
            read_name(role)
        return evolve(before, **given, targets={**before.targets, **bounds.targets})


@contextmanager
def _checked() -> Iterator[None]:
    """Tell the operator what the validators of records and names refuse."""
    try:
        yield
    except Wrong as wrong:
        what, _, remedy = wrong.mistakes[0][1].partition("; ")
        raise AuthorityError("not_a_name", f"{what}.", f"{remedy.capitalize()}.") from wrong
    except ValueError as error:
        raise AuthorityError(
            "not_a_record", f"This cannot be said: {error}.", "Mend what is named."
        ) from error
