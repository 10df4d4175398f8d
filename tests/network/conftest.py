"""Whole fabrics of real nodes on a network in memory, under a virtual clock."""

import pytest
from structlog.testing import capture_logs

from fabric.testing.live import open_live_fabric
from fabric.testing.network import Network


@pytest.fixture
def network():
    return Network(seed=1)


@pytest.fixture
async def live(tmp_path, network):
    """Return a fabric of nobody yet, in which anybody may offer and open ``demo``.

    Tests name ``autojump_clock`` themselves: the runner looks for it nowhere else.
    """
    async with open_live_fabric(tmp_path, network) as live:
        yield live


@pytest.fixture
def logged():
    """Return what was logged so far: ``logged("peer.refused", side="dialler")``."""
    with capture_logs() as lines:

        def matching(event, **facts):
            return [
                line for line in lines if line["event"] == event and facts.items() <= line.items()
            ]

        yield matching
