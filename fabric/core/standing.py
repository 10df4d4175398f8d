"""Which connection to a peer stands, when there could be two.

Theory of operation
===================

Every connection whose key is proved makes a *claim*: this process (``instance``) of that peer,
started at this point (``boot_seq``), reached by a connection that one of the two ends dialled.
At most one claim per peer *stands*: channels are opened on it and nowhere else. A new claim is
held against the standing one:

=====================  ===================================  ==================================
peer's process         who dialled                          verdict
=====================  ===================================  ==================================
nothing stands         anybody                              ``ADMIT``
higher ``boot_seq``    anybody                              ``REPLACE``: a quick restart; the
                                                            old one ends at once
lower ``boot_seq``     anybody                              refused, ``stale_instance``
equal, other instance  anybody                              refused, ``duplicate_identity``
same instance          both, the lower node id's is new     ``SUPERSEDE``: the old one is spare
same instance          both, the lower node id's is old     ``SPARE``: the new one is
same instance          the same end twice                   ``SUPERSEDE``: the newer stays
=====================  ===================================  ==================================

Both ends see the same two dials and come to the same answer, in whichever order the Hellos
finish. Nothing new is opened on a spare connection; the lower node id says Bye(duplicate) on it
once it knows the other to be admitted both ways, and it closes when its channels have ended.

The higher node id cannot know whether the lower one saw the same: a dial that was given up may
still have been admitted here, and displaced what stands there. So until it hears Bye it keeps
its spare claims, and the newest of them stands again when the standing one ends.

An older process that authenticates twice within a minute after it was told ``stale_instance``
is no leftover of a restart but a second process with the same key, and is told so.
"""

from __future__ import annotations

import enum
from typing import Final

from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.identity import Instance, NodeId

STALE_WINDOW: Final = 60.0
"""Seconds in which a second stale Hello means two processes with one key."""


@frozen(kw_only=True, eq=False)
class Claim:
    """One connection with a proved key. Compared by identity: it *is* the connection."""

    peer: NodeId
    instance: Instance
    """Of the peer's process."""
    boot_seq: int
    dialler: NodeId
    """The end that dialled: the peer or this node."""


class Verdict(enum.StrEnum):
    """What becomes of a new claim, and of the one that stood."""

    ADMIT = "admit"
    REPLACE = "replace"
    SUPERSEDE = "supersede"
    SPARE = "spare"
    STALE = "stale"
    DUPLICATE = "duplicate"


@frozen(kw_only=True)
class Judgement:
    """A verdict and what follows from it."""

    verdict: Verdict
    displaced: Claim | None = None
    """The claim that stood until now and does no more."""

    @property
    def stands(self) -> bool:
        """Whether the new claim stands now."""
        return self.verdict in _STANDS

    @property
    def refusal(self) -> Code | None:
        """The code to refuse the new claim with, whoever dialled; ``None``: it is not refused."""
        return _REFUSALS.get(self.verdict)


_STANDS: Final = frozenset({Verdict.ADMIT, Verdict.REPLACE, Verdict.SUPERSEDE})
_REFUSALS: Final = {
    Verdict.STALE: Code.STALE_INSTANCE,
    Verdict.DUPLICATE: Code.DUPLICATE_IDENTITY,
}


def compare(standing: Claim | None, new: Claim) -> Verdict:
    """Return the verdict of the table above. *new* and *standing* are of one peer."""
    if standing is None:
        return Verdict.ADMIT
    if new.boot_seq != standing.boot_seq:
        return Verdict.REPLACE if new.boot_seq > standing.boot_seq else Verdict.STALE
    if new.instance != standing.instance:
        return Verdict.DUPLICATE
    # Of two different diallers of one pair, one is this node and the other the peer, so the
    # lower of the two is the lower node id of the pair on both ends.
    return Verdict.SUPERSEDE if new.dialler <= standing.dialler else Verdict.SPARE


@define
class Standings:
    """The standing claim of every peer. Changed by :meth:`judge` and :meth:`ended` only."""

    me: NodeId
    _spares: dict[NodeId, list[Claim]] = field(init=False, factory=dict)
    """Claims that may stand again, the newest last. Only of peers with lower node ids."""
    _standing: dict[NodeId, Claim] = field(init=False, factory=dict)
    _stale_at: dict[NodeId, float] = field(init=False, factory=dict)

    def judge(self, claim: Claim, now: float) -> Judgement:
        """Decide about *claim*, and let it stand at once if that is the verdict.

        The caller who then fails to finish the admission must say :meth:`ended`.
        """
        standing = self._standing.get(claim.peer)
        verdict = compare(standing, claim)
        if verdict is Verdict.STALE and self._is_second_stale(claim.peer, now):
            verdict = Verdict.DUPLICATE
        if verdict is Verdict.SPARE:
            self._spare(claim)
        if verdict not in _STANDS:
            return Judgement(verdict=verdict)
        if verdict is Verdict.REPLACE:
            self._spares.pop(claim.peer, None)
        elif standing is not None:
            self._spare(standing)
        self._standing[claim.peer] = claim
        return Judgement(verdict=verdict, displaced=standing)

    def ended(self, claim: Claim) -> Claim | None:
        """Forget *claim*: its connection is gone, or the lower node id said Bye on it.

        Returns the claim that stands in its place, if it stood and there is one.
        """
        spares = self._spares.get(claim.peer, [])
        if claim in spares:
            spares.remove(claim)
        if self._standing.get(claim.peer) is not claim:
            return None
        del self._standing[claim.peer]
        if not spares:
            self._spares.pop(claim.peer, None)
            return None
        self._standing[claim.peer] = spares.pop()
        return self._standing[claim.peer]

    def _spare(self, claim: Claim) -> None:
        if self.me > claim.peer:
            self._spares.setdefault(claim.peer, []).append(claim)

    def of(self, peer: NodeId) -> Claim | None:
        """Return the standing claim of *peer*."""
        return self._standing.get(peer)

    def _is_second_stale(self, peer: NodeId, now: float) -> bool:
        before = self._stale_at.get(peer)
        self._stale_at[peer] = now
        return before is not None and now - before <= STALE_WINDOW


def next_boot_seq(stored: int, unix_now: float) -> int:
    """Return this process's boot_seq, to be stored before the first dial.

    Above every earlier one even when the clock went back, and above those of a lost state
    directory as long as the clock did not.
    """
    return max(stored + 1, int(unix_now))
