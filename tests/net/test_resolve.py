"""Names to numbers: whatever a name is, it is found or it is not."""

import pytest
import trio

from fabric.net.resolve import resolve


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize(
    "host", ["::1%..", f"::1%{'a' * 70}", "::1%é", "::1%\ud800", "a..b", "a" * 70]
)
async def test_what_can_be_no_name_is_not_found(host, v6):
    with trio.fail_after(10), pytest.raises(OSError, match=r"name|known|family"):
        await resolve((host, 4433), v6=v6, timeout=5)


@pytest.mark.parametrize(("v6", "number"), [(False, "127.0.0.1"), (True, "::ffff:127.0.0.1")])
async def test_a_number_is_as_the_socket_takes_it(v6, number):
    assert await resolve(("127.0.0.1", 4433), v6=v6, timeout=5) == (number, 4433)
