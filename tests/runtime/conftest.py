"""Whole nodes over a network in memory: an hour of weather passes in milliseconds."""

import functools

import pytest
from structlog.testing import capture_logs

from fabric.testing.network import Network
from fabric.testing.pairs import Fleet, connected, echo, offered


@pytest.fixture
def network():
    return Network(seed=1)


@pytest.fixture
def fleet(tmp_path, network):
    """Return a fabric of ``home`` and ``away``; both offer nothing until they serve."""
    fleet = Fleet(tmp_path, network)
    fleet.add("home")
    fleet.add("away", area="abroad")
    return fleet


@pytest.fixture
async def two(fleet, nursery):
    """Return a function that starts ``home`` and ``away``, the latter serving a handler.

    Its ``home`` and ``away`` are changes to the two configurations.
    """

    async def start(handler=echo, *, home=None, away=None, **options):
        at_home = await nursery.start(fleet.keep_running, "home", home)
        at_away = await nursery.start(fleet.keep_running, "away", away)
        if handler is not None:
            await nursery.start(functools.partial(at_away.serve, "demo", handler, **options))
        await connected(at_home, "away")
        await connected(at_away, "home")
        if handler is not None:
            await offered(at_home, "demo", "away")
        return at_home, at_away

    yield start
    nursery.cancel_scope.cancel()


@pytest.fixture
def logged():
    """Return what was logged so far: ``logged("peer.refused", side="dialler")``."""
    with capture_logs() as lines:

        def matching(event, **facts):
            return [
                line for line in lines if line["event"] == event and facts.items() <= line.items()
            ]

        yield matching
