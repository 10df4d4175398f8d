"""``fabricctl service add | policy show | set | revoke``: what nodes may do, and what no more."""

from __future__ import annotations

from typing import Annotated

import cyclopts
from cyclopts import Parameter, validators

from cli.ctl.granting import Several, require_selector
from cli.ctl.holding import Dir, lines, open_authority, pair, pairs, tell_signed
from cli.ctl.holding import now as this_moment
from cli.exit_codes import Exit
from cli.exits import UsageError
from cli.output import show
from fabric.core.codec.records import decode_record
from fabric.core.diversity import CRITICAL, DEFAULT
from fabric.core.records import FABRIC, Key, NodeRecord, ServiceRecord, Targets
from services.authority import BOUNDS, Bounds, Grant

service = cyclopts.App(name="service", help="Say who may offer and open a service.")
policy = cyclopts.App(name="policy", help="Say what holds for every node.")

Count = Annotated[int, Parameter(validator=validators.Number(gte=0))]

_TARGETS = {
    "direct": "direct",
    "areas": "external_areas",
    "ingress": "independent_ingress",
    "recovery": "recovery",
}
"""What a person writes for each field of :class:`Targets`."""

_TARGET_FORM = "ROLE:direct=2,areas=1,ingress=1,recovery=1"


@service.command
def add(
    name: str,
    /,
    *,
    offer_by: Several = (),
    open_to: Several = (),
    edge: bool = False,
    core: bool = False,
    max_channels: Count = 0,
    folder: Dir = None,
    json: bool = False,
) -> int:
    """Add the service NAME, or change it: what is not said again holds no more.

    SELECTOR is any, node:NAME, role:ROLE, area:AREA or label:KEY=VALUE.

    Parameters
    ----------
    offer_by:
        Selector of nodes that may offer it; may be given several times, without it nobody may.
    open_to:
        Selector of nodes that may open it; may be given several times, without it nobody may.
    edge:
        Let an ingress show it to clients outside the fabric.
    core:
        Count the fabric as active only while this service is.
    max_channels:
        At one node at once; 0 leaves it to the node.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    for selector in (*offer_by, *open_to):
        require_selector(selector)
    grant = Grant(
        offer_by=offer_by,
        open_to=open_to,
        edge_exposable=edge,
        core=core,
        max_channels=max_channels,
    )
    with open_authority(folder) as authority:
        before = frozenset(authority.records())
        made = authority.add_service(name, grant, now=this_moment())
        headline = (
            f"{name} of {authority.name}: offered by {_whom(offer_by)}, open to {_whom(open_to)}"
        )
        nobody = [each for each in (*offer_by, *open_to) if not authority.selected(each)]
        tell_signed(
            authority,
            [made],
            headline,
            before=before,
            json=json,
            more=_note_nobody(nobody),
            extra={"service": name, "selects_nobody": nobody},
        )
    return Exit.YES


@policy.command(name="show")
def show_policy(*, folder: Dir = None, json: bool = False) -> int:
    """Show what holds for every node, whether it was signed or goes without saying.

    Parameters
    ----------
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    with open_authority(folder, to_change=False) as authority:
        held, is_signed = authority.policy(now=this_moment())
        name = authority.name
    bounds = {field: getattr(held, field) for field in BOUNDS}
    targets = {
        role: {told: getattr(counts, field) for told, field in _TARGETS.items()}
        for role, counts in sorted(held.targets.items())
    }
    how = "as signed" if is_signed else "as it is until `fabricctl policy set`"
    told = [f"  {field.replace('_', '-')} {value}" for field, value in bounds.items()]
    told += [
        f"  target {role}:{','.join(f'{what}={count}' for what, count in counts.items())}"
        for role, counts in targets.items()
    ]
    document = {**bounds, "targets": targets, "signed": is_signed}
    show(document, lines(f"policy of {name}, {how}", *told), json=json)
    return Exit.YES


@policy.command(name="set")
def set_policy(
    *,
    fanout: int | None = None,
    hops: int | None = None,
    full_mesh_up_to: int | None = None,
    degree: int | None = None,
    target: Several = (),
    folder: Dir = None,
    json: bool = False,
) -> int:
    """Change the policy in what is given here, and in nothing else.

    Parameters
    ----------
    fanout:
        Peers that a node forwards a record to, 1 to 16.
    hops:
        Forwardings that a record may go through, 1 to 32.
    full_mesh_up_to:
        Nodes up to which each keeps a connection to every other, 2 to 256.
    degree:
        Peers that a node of a larger fleet keeps, 3 to 64.
    target:
        ROLE:direct=2,areas=1,ingress=1,recovery=1: peers of each kind that nodes of that role have
        ready; of the roles critical and default, nodes so marked and all others.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    bounds = Bounds(
        fanout=fanout,
        hops=hops,
        full_mesh_up_to=full_mesh_up_to,
        degree=degree,
        targets={
            role: _targets(counts) for role, counts in pairs(target, ":", _TARGET_FORM).items()
        },
    )
    if bounds == Bounds():
        raise UsageError("nothing_to_change", "Nothing is to be changed.", "Say what: --fanout N")
    with open_authority(folder) as authority:
        before = frozenset(authority.records())
        made = authority.set_policy(bounds, now=this_moment())
        roles = [f"role:{role}" for role in bounds.targets if role not in (CRITICAL, DEFAULT)]
        nobody = [each for each in roles if not authority.selected(each)]
        tell_signed(
            authority,
            [made],
            f"policy of {authority.name}",
            before=before,
            json=json,
            more=_note_nobody(nobody),
            extra={"selects_nobody": nobody},
        )
    return Exit.YES


def revoke(what: str, name: str = "", /, *, folder: Dir = None, json: bool = False) -> int:
    """Say that a node or service is no more: WHAT is node NAME, service NAME or KIND/SUBJECT.

    Nodes that hear it close their connections to a revoked node, and resolve it no more.

    Parameters
    ----------
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    by_name = what in (NodeRecord.KIND, ServiceRecord.KIND) and bool(name)
    key = None if by_name else _key(what, name)
    with open_authority(folder) as authority:
        before = frozenset(authority.records())
        if key is None and what == NodeRecord.KIND:
            key = authority.node(name).key
        made = authority.revoke(key or Key(what, name), now=this_moment())
        record = decode_record(made.payload)
        called = record.name if isinstance(record, NodeRecord) else record.subject
        subject = "" if record.subject == FABRIC else f" {called}"
        headline = f"{record.key.kind}{subject} of {authority.name} is revoked"
        tell_signed(authority, [made], headline, before=before, json=json)
    return Exit.YES


def _key(what: str, name: str) -> Key:
    try:
        if name:
            raise ValueError(f"{what!r} is neither node nor service")
        return Key.parse(what)
    except ValueError as error:
        raise UsageError(
            "not_a_key", f"{error}.", "Write node NAME, service NAME or KIND/SUBJECT."
        ) from error


def _whom(selectors: tuple[str, ...]) -> str:
    return " ".join(selectors) or "nobody"


def _note_nobody(selectors: list[str]) -> list[str]:
    if not selectors:
        return []
    return [f"no node is {' or '.join(selectors)} yet: `fabricctl node list` shows what they are"]


def _targets(counts: str) -> Targets:
    asked: dict[str, int] = {}
    for one in counts.split(","):
        name, count = pair(one, "=", _TARGET_FORM)
        if name not in _TARGETS or not count.isdecimal():
            raise UsageError("not_a_target", f"{one!r} cannot be meant.", f"Write {_TARGET_FORM}.")
        asked[_TARGETS[name]] = int(count)
    try:
        return Targets(**asked)
    except ValueError as error:
        raise UsageError(
            "not_a_target", f"{counts!r}: {error}.", "Write smaller numbers."
        ) from error
