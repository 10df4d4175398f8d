"""The client of the admin socket: what it sends, and how it says that nobody answers."""

from __future__ import annotations

import pytest
import trio

from cli.client import AdminClient, AdminRefusedError
from cli.exits import NotReachedError


async def test_a_snapshot_is_what_the_node_says(open_fake_admin, tmp_path, a_snapshot):
    path = tmp_path / "a.sock"
    async with open_fake_admin(path, {("GET", "/v1/snapshot"): (200, a_snapshot())}):
        admin = AdminClient(path, "home-1")
        assert await admin.snapshot() == a_snapshot()


async def test_a_node_that_is_not_ready_says_so_without_an_error(open_fake_admin, tmp_path):
    path = tmp_path / "a.sock"
    async with open_fake_admin(path, {("GET", "/v1/ready"): (503, {"ready": False})}) as fake:
        admin = AdminClient(path, "home-1")
        assert not await admin.ready()
        fake.answers["GET", "/v1/ready"] = (200, {"ready": True})
        assert await admin.ready()


async def test_a_refusal_keeps_the_nodes_own_words(open_fake_admin, tmp_path):
    path = tmp_path / "a.sock"
    told = {"code": "not_allowed", "message": "Only the owner drains.", "remedy": "Be the owner."}
    async with open_fake_admin(path, {("POST", "/v1/drain"): (403, told)}):
        admin = AdminClient(path, "home-1")
        with pytest.raises(AdminRefusedError) as caught:
            await admin.drain()
    assert caught.value.document() == {"error": told}
    assert caught.value.status == 403


async def test_an_answer_without_a_reason_is_still_a_refusal(open_fake_admin, tmp_path):
    path = tmp_path / "a.sock"
    async with open_fake_admin(path, {("POST", "/v1/drain"): (500, {"detail": "oops"})}):
        admin = AdminClient(path, "home-1")
        with pytest.raises(AdminRefusedError, match="without a reason"):
            await admin.drain()


async def test_no_socket_is_unreachable_with_a_remedy(tmp_path):
    admin = AdminClient(tmp_path / "none.sock", "home-1")
    with pytest.raises(NotReachedError, match="home-1 does not answer") as caught:
        await admin.snapshot()
    assert "fabricctl up" in caught.value.remedy


async def test_a_service_is_exposed_by_its_name_and_backend(open_fake_admin, tmp_path):
    path = tmp_path / "a.sock"
    async with open_fake_admin(path, {("POST", "/v1/services"): (201, {})}) as fake:
        await AdminClient(path, "home-1").expose("web", "127.0.0.1:1")
    assert fake.asked == [("POST", "/v1/services", {"name": "web", "backend": "127.0.0.1:1"})]


async def test_leaving_a_forward_hangs_up(open_fake_admin, tmp_path):
    path = tmp_path / "a.sock"
    lines = [{"listening": "127.0.0.1:5432"}, {"client": "127.0.0.1:9"}]
    async with open_fake_admin(path, {("POST", "/v1/forwards"): (200, lines)}) as fake:
        admin = AdminClient(path, "home-1")
        async with admin.open_forward("127.0.0.1:5432", "pg") as told:
            assert [await anext(told), await anext(told)] == lines
        await fake.hung_up.wait()
    assert fake.asked == [("POST", "/v1/forwards", {"listen": "127.0.0.1:5432", "service": "pg"})]


async def talk_nonsense(stream):
    async with stream:
        await stream.receive_some()
        await stream.send_all(b"SSH-2.0-OpenSSH\r\n\r\n")


async def hang_up(stream):
    await stream.aclose()


async def break_off(stream):
    async with stream:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")


@pytest.mark.parametrize(
    ("handler", "told"),
    [(talk_nonsense, "HTTP"), (hang_up, "hung up"), (break_off, "in the middle")],
)
async def test_a_server_that_hangs_up_or_talks_nonsense_is_unreachable(tmp_path, handler, told):
    path = tmp_path / "a.sock"
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(path))
    sock.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handler, [trio.SocketListener(sock)])
        with pytest.raises(NotReachedError, match=told):
            await AdminClient(path, "x").snapshot()
        nursery.cancel_scope.cancel()
