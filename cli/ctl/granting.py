"""Granting: selectors as a person writes them, and the permission that comes with an offer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from cli.ctl.holding import now, open_authority
from cli.exits import Json, UsageError
from cli.local.fabric import LocalFabric
from fabric.core.access import FORMS, parse_selector
from fabric.core.codec.envelopes import envelope_to_json
from fabric.core.records import Key, ServiceRecord
from services.authority import Authority, Grant

Several = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]
"""An option that may be given several times."""


def require_selector(text: str) -> None:
    """Raise :exc:`UsageError` unless *text* is a selector."""
    try:
        parse_selector(text)
    except ValueError as error:
        raise UsageError(
            "not_a_selector", f"{text!r} selects nobody.", f"Write {FORMS}."
        ) from error


def permit(
    fabric: LocalFabric, service: str, node: str, open_to: Sequence[str], *, edge: bool
) -> Json:
    """Sign that *node* may offer *service*, and that only *open_to* may open it.

    What the fabric's authority said of it besides holds on: who else may offer it, whether it is
    core, how many channels it takes. Returns the envelope as its file has it. Raises
    :exc:`CommandError` for what the authority refuses.
    """
    with open_authority(fabric.authority) as authority:
        grant = _grant(authority, service, node, open_to, edge=edge)
        envelope = authority.add_service(service, grant, now=now())
    document: Json = json.loads(envelope_to_json(envelope))
    return document


def _grant(
    authority: Authority, service: str, node: str, open_to: Sequence[str], *, edge: bool
) -> Grant:
    before = _said(authority, service)
    offer_by = before.offer_by if before is not None else ()
    if not any(_selects(authority, selector, node) for selector in offer_by):
        offer_by = (*offer_by, f"node:{node}")
    return Grant(
        offer_by=offer_by,
        open_to=tuple(open_to),
        edge_exposable=edge,
        core=before is not None and before.core,
        max_channels=before.max_channels if before is not None else 0,
    )


def _said(authority: Authority, service: str) -> ServiceRecord | None:
    key = Key(ServiceRecord.KIND, service)
    if key not in authority.signed_keys():
        return None
    record = authority.held(key).record
    assert isinstance(record, ServiceRecord)
    return None if record.revoked else record


def _selects(authority: Authority, selector: str, node: str) -> bool:
    return node in {record.name for record in authority.selected(selector)}
