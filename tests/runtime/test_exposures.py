"""What an operator exposes: only what is permitted, over restarts, withheld while it is not."""

import pytest
import trio
from attrs import evolve

from fabric.codes import Code
from fabric.config import HostPort, ServiceConfig
from fabric.core.verdicts import Standing
from fabric.errors import RefusedError
from fabric.runtime.exposures import Exposures, read_exposed
from tests.runtime.a_node import Nodes, echo

DEMO = ServiceConfig(name="demo", backend=HostPort("127.0.0.1", 8080))


@pytest.fixture
def nodes(nursery):
    nodes = Nodes(nursery)
    nodes.add("home")
    yield nodes
    nursery.cancel_scope.cancel()


@pytest.fixture
def home(nodes):
    return next(iter(nodes.by_id.values()))


def exposures_of(home, folder, **configured):
    return Exposures(home.services, folder, configured)


async def test_what_no_record_permits_is_refused_and_leaves_no_trace(nodes, home, tmp_path):
    nodes.service(offer_by=("node:away",))
    for name in ("demo", "unsigned"):
        with pytest.raises(RefusedError, match="fabricctl service add") as refused:
            await exposures_of(home, tmp_path).expose(ServiceConfig(name=name))
        assert refused.value.code is Code.OFFER_NOT_PERMITTED

    assert home.services.configs == {}
    assert list(tmp_path.iterdir()) == []


async def test_a_record_that_is_expired_permits_nothing_and_is_named(nodes, home, tmp_path):
    home.hold(nodes.fabric.service("demo"), Standing.EXPIRED)
    with pytest.raises(RefusedError) as refused:
        await exposures_of(home, tmp_path).expose(DEMO)

    assert refused.value.code is Code.RECORD_EXPIRED


async def test_two_that_are_exposed_at_once_are_both_there_after_a_restart(nodes, home, tmp_path):
    nodes.service("demo")
    nodes.service("logs")
    exposures = exposures_of(home, tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exposures.expose, DEMO)
        nursery.start_soon(exposures.expose, evolve(DEMO, name="logs"))

    assert read_exposed(tmp_path).keys() == home.services.configs.keys() == {"demo", "logs"}


async def test_what_is_taken_back_twice_at_once_is_refused_once(nodes, home, tmp_path):
    nodes.service()
    exposures, refused = exposures_of(home, tmp_path), []
    await exposures.expose(DEMO)

    async def unexpose():
        try:
            await exposures.unexpose("demo")
        except RefusedError as error:
            refused.append(error.code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(unexpose)
        nursery.start_soon(unexpose)
    assert refused == [Code.UNKNOWN_SERVICE]


async def test_what_is_permitted_is_exposed_and_still_is_after_a_restart(nodes, home, tmp_path):
    nodes.service()
    await exposures_of(home, tmp_path).expose(DEMO)
    assert home.services.configs == {"demo": DEMO}

    again = nodes.add("home-2")
    exposures_of(again, tmp_path).restore(read_exposed(tmp_path))
    assert again.services.configs == {"demo": DEMO}


async def test_a_permission_that_goes_later_withholds_it_until_it_returns(nodes, home, tmp_path):
    nodes.service()
    await exposures_of(home, tmp_path).expose(DEMO)
    home.serve("demo", echo)
    assert home.services.permitted_names() == ("demo",)
    nodes.service(offer_by=())
    assert home.services.permitted_names() == ()
    nodes.service()
    assert home.services.permitted_names() == ("demo",)


async def test_an_exposure_may_be_taken_back_whatever_is_permitted(nodes, home, tmp_path):
    nodes.service()
    exposures = exposures_of(home, tmp_path)
    await exposures.expose(DEMO)
    nodes.service(offer_by=())
    await exposures.unexpose("demo")

    assert home.services.configs == {}


async def test_a_backend_of_the_file_is_not_shadowed(nodes, home, tmp_path):
    nodes.service()
    with pytest.raises(RefusedError) as refused:
        await exposures_of(home, tmp_path, demo=DEMO).expose(DEMO)

    assert refused.value.code is Code.CONFIGURED_SERVICE
