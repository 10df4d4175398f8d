"""Whole nodes over a network in memory: an hour of weather passes in milliseconds."""

import pytest
from structlog.testing import capture_logs

from fabric.testing.network import Network
from fabric.testing.pairs import Fleet


@pytest.fixture
def network():
    return Network(seed=1)


@pytest.fixture
def fleet(tmp_path, network):
    """Return a fabric of ``home`` and ``away``; both offer nothing until they serve."""
    fleet = Fleet(tmp_path, network)
    fleet.add("home")
    fleet.add("away", area="abroad", offers=frozenset({"demo"}))
    return fleet


@pytest.fixture
def logged():
    """Return what was logged so far: ``logged("peer.refused", side="dialler")``."""
    with capture_logs() as lines:

        def matching(event, **facts):
            return [
                line for line in lines if line["event"] == event and facts.items() <= line.items()
            ]

        yield matching
