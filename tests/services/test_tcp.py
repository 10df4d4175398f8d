"""Raw sockets: what is set on them, what they bind to, whom they connect to."""

import socket

import pytest
import trio

from services import tcp


async def test_accepted_and_connected_sockets_are_not_delayed_and_kept_alive():
    with await tcp.listen("127.0.0.1", 0) as listener:
        connected = await tcp.connect(*listener.getsockname())
        accepted, _ = listener.accept()
        with connected, accepted:
            for sock in (connected, accepted):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("end", ["accepted", "connected"])
async def test_whatever_closes_a_socket_but_finish_sends_a_reset(end):
    for close, answer in ((socket.socket.close, None), (tcp.finish, b"")):
        with await tcp.listen("127.0.0.1", 0) as listener:
            connected = await tcp.connect(*listener.getsockname())
            accepted, _ = listener.accept()
            with connected, accepted:
                ours, theirs = (accepted, connected)[:: 1 if end == "accepted" else -1]
                theirs.setblocking(True)
                close(ours)
                if answer is None:
                    with pytest.raises(ConnectionResetError):
                        theirs.recv(1)
                else:
                    assert theirs.recv(1) == answer


async def test_an_ipv6_wildcard_leaves_ipv4_alone():
    with await tcp.listen("::", 0) as six:
        # Looked at, not tried: somebody else may have the same port of IPv4.
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


async def test_a_name_is_bound_at_its_ipv4_address_first(monkeypatch):
    async def both(host, port, **_):
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(trio.socket, "getaddrinfo", both)
    with await tcp.listen("two.faced", 0) as listener:
        assert listener.family == socket.AF_INET


async def test_a_wait_for_a_distant_handshake_is_ended_by_its_caller_and_leaks_nothing():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        filling = [socket.socket() for _ in range(3)]
        for sock in filling:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        with trio.move_on_after(0.05) as waiting:
            await tcp.connect(*full.getsockname())
        assert waiting.cancelled_caught  # an unclosed socket would fail the test by its warning
        for sock in filling:
            sock.close()
