"""One peer: when it is to be dialled, and when no longer."""

import random

import trio
import trio.testing

from fabric.core.backoff import Redial
from fabric.core.roster import Member
from fabric.runtime.peer import Peer
from fabric.testing.quic import ACCEPTOR, an_identity

A_LINK = object()
TURNS = 20
"""The order of two tasks is drawn anew in each, so one turn may show nothing."""


def a_peer():
    return Peer(Member(name="away", key=an_identity(ACCEPTOR).public), Redial(random.Random(1)))


async def test_a_peer_whose_link_comes_at_the_last_moment_is_not_dialled(autojump_clock):
    """It would be seen as dialling for good: nothing that ends such a dial minds the link."""
    for _ in range(TURNS):
        peer, dialled = a_peer(), []

        async def dial(peer=peer, dialled=dialled):
            await peer.wait_to_be_dialled()
            dialled.append(peer.link)

        async with trio.open_nursery() as nursery:
            peer.want(True)
            nursery.start_soon(dial)
            await trio.lowlevel.checkpoint()
            peer.stand(A_LINK)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert A_LINK not in dialled


async def test_a_peer_that_is_wanted_is_dialled(autojump_clock):
    peer = a_peer()
    peer.want(True)
    with trio.fail_after(1):
        await peer.wait_to_be_dialled()
