"""Which services there are, whether they work, and which nodes to ask for one.

Theory of operation
===================

The registry looks at three things and never mixes them up: what is *signed* (the records of
service and node), what is *said* (the node's offers) and what was *seen* (liveness, and channels
that were opened). Of a service it then says one of three:

==================  ==============================================================================
``active``          a signed record that holds, an unexpired offer of a permitted node that is not
                    gone, and a live proof
``candidate_only``  offers, or cached ones, but no record that holds or no proof
``missing``         none of it
==================  ==============================================================================

::

    missing --offered--> candidate_only --record, offer and proof--> active
       ^                    |      ^                                   |
       |                    |      '-- record or offer gone, node gone,'
       |                    |          three failed probes             |
       '--------------------'------------------------------------------'
                             nothing is offered any more

The node as a whole is as its worst core service is. Knowing no core service at all is ``missing``:
an empty directory must not pass for a healthy one. A core service that this node may not open
cannot be shown to work from here and so is not active either; its report names the code, and the
remedy is a selector in its ``open_to``. A node that offers a service itself probes itself.

Everything is answered from memory. ``receive`` takes what changed; ``resolve``, ``objection`` and
``may_offer`` are asked in between and wait for nothing. What expires makes no event, so every ten
seconds all is graded anew; permission is asked of the directory each time and is never late.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from attrs import define, field

from fabric.codes import Code
from fabric.core.access import Subject
from fabric.core.evidence import SPACING, Evidence, Trial
from fabric.core.grants import Grants, decay
from fabric.core.identity import NodeId, NodeName
from fabric.core.offerings import Grade, Offering, Offerings
from fabric.core.offers import Terms
from fabric.core.records import Key, NodeRecord, OffersRecord, ServiceRecord
from fabric.core.registry_events import (
    Effect,
    Event,
    Failed,
    ProbeWanted,
    Proved,
    Recorded,
    ServiceChanged,
    Serving,
    Shunned,
    Sought,
    Status,
    Ticked,
    Turned,
)
from fabric.core.resolution import Health, Instance, Resolution, locality, ranked
from fabric.core.views import (
    ALIVE,
    SUSPECT,
    DirectoryView,
    LivenessView,
    Reach,
    subject_of,
)

SWEEP: Final = 10.0
"""Seconds within which everything is graded anew, for what expires in silence: by and by, as time
passes. Records live days."""

MOST_PROBES: Final = 16
"""Services probed at once. Each probe may take a link of its own for a minute."""

WORST_FIRST: Final = (Status.MISSING, Status.CANDIDATE_ONLY, Status.ACTIVE)
"""Of statuses: the first that any core service has is the node's."""


@define
class _Service:
    """What the registry keeps of one service, besides its offers."""

    status: Status = Status.MISSING
    evidence: Evidence = field(init=False, factory=Evidence)
    instances: dict[NodeId, NodeName] = field(init=False, factory=dict)
    """As watchers were told last."""

    def bring_up_to_date(
        self, offered: Mapping[NodeId, Offering], touched: Iterable[NodeId]
    ) -> tuple[tuple[NodeName, ...], tuple[NodeName, ...]]:
        """Take over who of *touched* is an instance now; return who came and who went, by name."""
        added, removed = [], []
        for node in touched:
            before, offering = self.instances.pop(node, None), offered.get(node)
            if offering is not None and offering.is_instance:
                self.instances[node] = offering.name
                added += [offering.name] if before is None else []
            elif before is not None:
                removed.append(before)
        return tuple(sorted(added)), tuple(sorted(removed))


class Registry:
    """The services of a fabric as one node knows them.

    One entry per service that has a record or an offer, and no other: what is merely asked for
    takes no room.
    """

    def __init__(
        self,
        me: NodeId,
        directory: DirectoryView,
        liveness: LivenessView,
        reach: Reach,
        rng: random.Random,
    ) -> None:
        self.me = me
        self.directory = directory
        self.grants = Grants(directory)
        self.offerings = Offerings(directory=directory, liveness=liveness, me=me)
        self._liveness = liveness
        self._reach = reach
        self._rng = rng
        self._services: dict[str, _Service] = {}
        self._swept_at: float | None = None
        self._round_ends = float("-inf")

    # -- events --
    def receive(self, event: Event, now: float) -> list[Effect]:
        """Take *event*; return what is to be probed and what is to be told to watchers."""
        match event:
            case Recorded(key):
                return self._settle(self._read(key), now)
            case Serving(services):
                return self._settle(self.offerings.serve(services), now)
            case Turned(node):
                return self._settle(self.offerings.read_node(node), now)
            case Shunned(node, code, seconds):
                self.offerings.shun(node, code, now + seconds)
                return self._settle(self.offerings.read_node(node), now)
            case Proved(service, node, rtt, via):
                return self._tried(service, Trial(at=now, node=node, rtt=rtt, via=via), now)
            case Failed(service, node, code, via):
                return self._tried(service, Trial(at=now, node=node, code=code, via=via), now)
            case Sought(service):
                self._ask(service, now)
                return []
            case Ticked():
                return [*self._tick(now), *self._probes(now)]

    def _read(self, key: Key) -> set[str]:
        match key.kind:
            case ServiceRecord.KIND:
                self.offerings.read_service(key.subject)
                return {key.subject}
            case NodeRecord.KIND | OffersRecord.KIND:
                return self.offerings.read_node(NodeId(key.subject))
        return set()

    def _tried(self, service: str, trial: Trial, now: float) -> list[Effect]:
        known = self._services.get(service)
        if known is None or trial.node not in self.offerings.of(service):
            return []  # revoked or withdrawn while it was tried
        known.evidence.take(trial)
        if trial.is_ok and known.status is Status.ACTIVE:
            return []  # as with nearly every channel that is opened; it is active already
        return self._settle({service}, now)

    def _ask(self, service: str, now: float) -> None:
        if known := self._services.get(service):
            known.evidence.ask(now)

    def _tick(self, now: float) -> list[Effect]:
        """Return what changed by time alone: proofs lapse by the second, the rest is swept for."""
        touched = {name for name, known in self._services.items() if known.status is Status.ACTIVE}
        for node in self.offerings.forgive(now):
            touched |= self.offerings.read_node(node)
        return self._settle(touched | self._sweep(now), now)

    def _sweep(self, now: float) -> set[str]:
        """Read anew the nodes whose turn it is; return the services that may be others by that.

        All have had theirs after :data:`SWEEP`. At once, they would take a tenth of a second at a
        thousand nodes, in which nothing else happens here.
        """
        past = SWEEP if self._swept_at is None else now - self._swept_at
        self._swept_at = now
        touched = self.offerings.regrade(past / SWEEP)
        if self._round_ends <= now:
            self._round_ends = now + SWEEP
            touched |= {*self._services, *self.directory.services(), *self.offerings.services()}
        return touched

    def _settle(self, services: Iterable[str], now: float) -> list[Effect]:
        changes = (self._changed(service, now) for service in sorted(services))
        return [change for change in changes if change]

    def _changed(self, service: str, now: float) -> ServiceChanged | None:
        """Bring *service* up to date; return how it differs from what watchers were told."""
        offered, touched = self.offerings.of(service), self.offerings.touched(service)
        known = self._services.setdefault(service, _Service())
        was = known.status
        known.evidence.keep(offered)
        known.status = self._status(service, known, now)
        added, removed = known.bring_up_to_date(offered, touched)
        if not offered and self.directory.service(service) is None:
            del self._services[service]
        if was is known.status and not added and not removed:
            return None
        return ServiceChanged(service, was, known.status, added, removed)

    # -- status --
    def status_of(self, service: str) -> Status:
        """Return the status of *service* as of the last event."""
        known = self._services.get(service)
        return known.status if known else Status.MISSING

    @property
    def status(self) -> Status:
        """That of the worst core service; ``missing`` where none is known."""
        core = {self.status_of(service) for service in self.core()}
        return next((each for each in WORST_FIRST if each in core), Status.MISSING)

    def core(self) -> list[str]:
        """Return the core services by their signed records, sorted; expired ones too."""
        names = sorted(self.directory.services())
        held = ((name, self.directory.service(name)) for name in names)
        return [
            name for name, each in held if each and each.record.core and not each.record.revoked
        ]

    def _status(self, service: str, known: _Service, now: float) -> Status:
        is_believed = known.status is Status.ACTIVE
        if known.evidence.shows(self.offerings.usable(service), now, is_believed=is_believed):
            return Status.ACTIVE
        is_refused = self.offerings.are_refused(service)
        return Status.MISSING if is_refused else Status.CANDIDATE_ONLY

    def reason(self, service: str) -> Code | None:
        """Return why *service* is not active; ``None`` if it is."""
        if self.status_of(service) is Status.ACTIVE:
            return None
        held = self.directory.service(service)
        if held is None:
            return Code.UNKNOWN_SERVICE
        if code := decay(held):
            return code
        if not self.offerings.usable(service):
            return Code.NO_INSTANCE
        return self._objection_to_me(service) or Code.NO_PROOF

    # -- permission --
    def objection(self, service: str, opener: Subject, *, client: str | None) -> Code | None:
        """Return what speaks against *opener* opening *service* for *client*, if anything.

        Asked by the node that offers, which enforces it, and by the opener, which explains it.
        """
        return self.grants.objection(service, opener, client=client)

    def terms(self, service: str) -> Terms | None:
        """Return who may open *service*; ``None`` where no usable record says so."""
        return self.grants.terms(service)

    def may_offer(self, service: str, node: NodeId) -> Code | None:
        """Return what speaks against *node* beginning to offer *service*, if anything."""
        return self.grants.may_offer(service, node)

    def may_serve(self, service: str) -> Code | None:
        """Return what speaks against this node offering *service*, if anything.

        What it offered when its own record expired it goes on with, for its grace.
        """
        code = self.grants.may_offer(service, self.me)
        if code is Code.SURVIVAL_GRACE and service in self.offerings.before(self.me):
            return None
        return code

    def _objection_to_me(self, service: str) -> Code | None:
        me = self.directory.node(self.me)
        if me is None:
            return Code.NO_OWN_RECORD
        return decay(me) or self.objection(service, subject_of(me.record), client=None)

    # -- resolution --
    def knows(self, service: str) -> bool:
        """Return whether anything at all is known of *service*."""
        return service in self._services

    def services(self) -> list[str]:
        """Return every service of which anything is known, sorted."""
        return sorted(self._services)

    def instances(self, service: str) -> tuple[NodeName, ...]:
        """Return the nodes that may be asked for *service*, sorted by name."""
        offerings = self.offerings.of(service).values()
        return tuple(sorted(each.name for each in offerings if each.is_instance))

    def last_trial(self, service: str) -> Trial | None:
        """Return the last attempt to open *service* that says anything of it."""
        known = self._services.get(service)
        return known.evidence.last if known else None

    def resolve(
        self,
        service: str,
        now: float,
        *,
        client: str | None = None,
        besides: Collection[NodeId] = (),
    ) -> Resolution:
        """Return whom to ask for *service*, best first, without those in *besides*.

        After a refusal that :func:`~fabric.core.resolution.is_worth_another`, ask the next one.
        A service that was resolved is probed for a while.
        """
        self._ask(service, now)
        me = self.directory.node(self.me)
        if me is None:
            return Resolution(service=service, objection=Code.NO_OWN_RECORD)
        subject = subject_of(me.record)
        if code := decay(me) or self.objection(service, subject, client=client):
            return Resolution(service=service, objection=code)
        return Resolution(service=service, instances=self.ranked(service, now, besides))

    def ranked(
        self, service: str, now: float, besides: Collection[NodeId] = ()
    ) -> tuple[Instance, ...]:
        """Return the instances of *service*, best first, whether or not this node may open it."""
        me = self.directory.node(self.me)
        mine = me.record if me else None
        candidates = (
            self._instance(service, each, mine, now)
            for each in self.offerings.of(service).values()
            if each.is_instance and each.node not in besides
        )
        return ranked(self.me, (each for each in candidates if each))

    def _instance(
        self, service: str, offering: Offering, me: NodeRecord | None, now: float
    ) -> Instance | None:
        described = self.directory.node(offering.node)
        if described is None or decay(described):
            return None  # revoked a moment ago; the event is on its way
        return Instance(
            node=offering.node,
            name=offering.name,
            is_hint=offering.grade is Grade.HINT,
            health=self._health(service, offering.node, now),
            locality=locality(me, described.record),
            is_linked=self._reach.is_linked(offering.node),
            load=self._reach.load(offering.node, service),
            rtt=self._reach.rtt(offering.node),
            from_cache=offering.from_cache,
        )

    def _health(self, service: str, node: NodeId, now: float) -> Health:
        known = self._services.get(service)
        if known and known.evidence.is_failing(node, now):
            return Health.DOUBTFUL
        state = ALIVE if node == self.me else self._liveness.state_of(node)
        if state == SUSPECT:
            return Health.DOUBTFUL
        return Health.ALIVE if state == ALIVE else Health.UNKNOWN

    # -- probing --
    def _probes(self, now: float) -> list[Effect]:
        """Begin as many probes as may be out at once: core services first, then by turns."""
        core = set(self.core())
        due = sorted(
            (service not in core, known.evidence.probed_at, service)
            for service, known in self._services.items()
            if (service in core or known.evidence.is_asked(now)) and known.evidence.is_due(now)
        )
        out = sum(known.evidence.is_probing(now) for known in self._services.values())
        wanted = (self._probe(service, now) for _, _, service in due)
        probes = list(itertools.islice(filter(None, wanted), max(0, MOST_PROBES - out)))
        for probe in probes:
            put_off = self._rng.uniform(0, SPACING / 5)
            self._services[probe.service].evidence.probe(now, put_off=put_off)
        return [*probes]

    def _probe(self, service: str, now: float) -> ProbeWanted | None:
        """Return a probe of whoever is first, where this node may ask; else of itself."""
        instances = self.ranked(service, now)
        if self._objection_to_me(service):
            instances = tuple(each for each in instances if each.node == self.me)
        return ProbeWanted(service, instances[0].node) if instances else None
