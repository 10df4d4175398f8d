"""Who may offer a service and who may open it, by its signed record and by nothing else.

The node that offers a service enforces the answer; the node that opens one asks first, and so can
say why not in the same words and without a round trip. Neither believes what a node says of
itself: both look at the signed record of the service and of the node.
"""

from __future__ import annotations

from functools import lru_cache

from attrs import frozen

from fabric.codes import Code
from fabric.core.access import Selector, Subject, parse_selector, permits
from fabric.core.identity import NodeId
from fabric.core.offers import Terms
from fabric.core.records import NodeRecord, ServiceRecord
from fabric.core.verdicts import Standing
from fabric.core.views import DirectoryView, Sworn, subject_of


@lru_cache(maxsize=4096)  # asked at every Open; the texts of a fabric's services are few
def _parsed(selectors: tuple[str, ...]) -> tuple[Selector, ...]:
    return tuple(map(parse_selector, selectors))


def terms_of(record: ServiceRecord) -> Terms:
    """Return who may open the service of *record*."""
    return Terms(
        open_to=_parsed(record.open_to),
        edge_exposable=record.edge_exposable,
        max_channels=record.max_channels,
    )


def is_offerer(record: ServiceRecord, node: NodeRecord) -> bool:
    """Return whether *record* selects *node* among those that may offer its service."""
    return permits(_parsed(record.offer_by), subject_of(node))


def decay(held: Sworn[NodeRecord] | Sworn[ServiceRecord]) -> Code | None:
    """Return why a record that is held counts no more, if so."""
    if held.record.revoked:
        return Code.REVOKED
    if held.standing == Standing.EXPIRED:
        return Code.RECORD_EXPIRED
    return None


@frozen
class Grants:
    """The questions about permission, put to the directory at the moment of asking."""

    directory: DirectoryView

    def terms(self, service: str) -> Terms | None:
        """Return who may open *service*; ``None`` where no usable record says so."""
        held = self.directory.service(service)
        return None if held is None or decay(held) else terms_of(held.record)

    def objection(self, service: str, opener: Subject, *, client: str | None) -> Code | None:
        """Return what speaks against *opener* opening *service* for *client*, if anything.

        *client* is an address outside the fabric, or ``None`` when the opener is the client. The
        answer is the same at the opener and at the node that offers, as far as both hold the same
        records.
        """
        held = self.directory.service(service)
        if held is None:
            return Code.UNKNOWN_SERVICE
        return decay(held) or terms_of(held.record).objection(opener, client=client)

    def may_offer(self, service: str, node: NodeId) -> Code | None:
        """Return what speaks against *node* beginning to offer *service*, if anything.

        A node in its grace goes on with what it offers and begins nothing new.
        """
        described = self.directory.node(node)
        objection = self.may_go_on(service, node)
        if objection is None and described and described.standing == Standing.GRACE:
            return Code.SURVIVAL_GRACE
        return objection

    def may_go_on(self, service: str, node: NodeId) -> Code | None:
        """Return what speaks against an offer that *node* has made before, if anything."""
        held, described = self.directory.service(service), self.directory.node(node)
        if held is None or described is None:
            return Code.OFFER_NOT_PERMITTED
        if code := decay(described) or decay(held):
            return code
        return None if is_offerer(held.record, described.record) else Code.OFFER_NOT_PERMITTED
