"""PROXY headers over real listeners: believed where they are good, an RST where they are not."""

from __future__ import annotations

import ipaddress
import struct

import pytest
import trio

from tests.lab.tcp_ends import connect, is_reset, receive_all, send_all, send_eof

pytestmark = pytest.mark.slow

V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(source="192.0.2.7", port=4567, *, command=0x21, kind=0x11, extra=b""):
    body = ipaddress.ip_address(source).packed + ipaddress.ip_address("192.0.2.1").packed
    body += struct.pack("!HH", port, 443) + extra
    return V2 + struct.pack("!BBH", command, kind, len(body)) + body


MALFORMED = {
    "plain HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "another protocol's first byte": b"\x16\x03\x01\x02\x00",
    "a v1 line without an end": b"PROXY TCP4 " + b"1" * 200,
    "a v1 line of another family": b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    "a v1 port too high": b"PROXY TCP4 192.0.2.7 192.0.2.1 99999 443\r\n",
    "a v1 port that is none": b"PROXY TCP4 192.0.2.7 192.0.2.1 +1 443\r\n",
    "a v1 line too short": b"PROXY TCP4 192.0.2.7\r\n",
    "a v2 header of version 1": v2(command=0x11),
    "a v2 header of an unknown family": v2(kind=0x51),
    "a v2 header too short for IPv6": v2(kind=0x21),
    "a v2 header too long": V2 + struct.pack("!BBH", 0x21, 0x11, 65_535),
}


async def test_malformed_headers_are_reset_and_counted_and_never_reach_the_backend(
    start_path, start_backend
):
    heard = []

    async def listen(sock):
        heard.append(await receive_all(sock))
        send_eof(sock)

    path = await start_path(await start_backend(listen), listener={"accept_proxy": True})
    for name, header in MALFORMED.items():
        with is_reset(within=2), await connect(path.address) as client:
            await send_all(client, header)
            print(name, await receive_all(client))
    count = await path.edge.count(
        "fabric_ingress_connections_refused_total", code="bad_proxy_header"
    )
    assert count == len(MALFORMED)
    assert await path.edge.count("fabric_channels_opened_total") == 0
    assert heard == []


async def test_a_client_that_sends_no_header_is_reset_in_time(start_path):
    path = await start_path(listener={"accept_proxy": True})
    with is_reset(within=7), await connect(path.address) as client:
        await receive_all(client)
    await path.edge.logged("ingress.refused", code="bad_proxy_header")


async def test_a_client_that_leaves_within_its_header_is_reset(start_path):
    path = await start_path(listener={"accept_proxy": True})
    with is_reset(within=2), await connect(path.address) as client:
        await send_all(client, b"PROXY TCP4 192.0")
        send_eof(client)
        await receive_all(client)
    await path.edge.logged("ingress.refused", code="bad_proxy_header")


GOOD = {
    b"PROXY TCP4 192.0.2.7 192.0.2.1 4567 443\r\n": "192.0.2.7:4567",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 4567 443\r\n": "[2001:db8::7]:4567",
    v2(): "192.0.2.7:4567",
    v2(extra=b"\x04\x00\x01\x00"): "192.0.2.7:4567",
}


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_backend_hears_the_client_whom_the_balancer_named(
    start_path, start_backend, version
):
    heard = []

    async def listen(sock):
        heard.append(await receive_all(sock))
        await send_all(sock, b"ok")
        send_eof(sock)

    path = await start_path(
        await start_backend(listen),
        listener={"accept_proxy": True},
        service={"send_proxy": version},
    )
    for header, client in GOOD.items():
        assert await said_in_pieces(path.address, header + b"hello") == b"ok"
        assert READERS[version](heard.pop()) == (client, b"hello")
        await path.edge.logged("ingress.closed", client=client, code="done")
        await path.away.logged("channel.closed", client=client, code="done")


async def said_in_pieces(address, data):
    """Say *data* with a cut in its header; return the answer."""
    with trio.fail_after(5), await connect(address) as client:
        await send_all(client, data[:9])
        await trio.sleep(0.05)
        await send_all(client, data[9:])
        send_eof(client)
        return await receive_all(client)


async def test_the_backend_hears_the_address_of_a_client_without_a_balancer(
    start_path, start_backend
):
    heard = []

    async def listen(sock):
        heard.append(await receive_all(sock))
        send_eof(sock)

    path = await start_path(await start_backend(listen), service={"send_proxy": "v1"})
    with trio.fail_after(5), await connect(path.address) as client:
        me = "{}:{}".format(*client.getsockname())
        send_eof(client)
        assert await receive_all(client) == b""
    assert read_v1(heard.pop()) == (me, b"")
    await path.away.logged("channel.closed", client=me)


def read_v1(data):
    line, _, rest = data.partition(b"\r\n")
    _, family, source, _, port, _ = line.decode().split()
    return (f"[{source}]:{port}" if family == "TCP6" else f"{source}:{port}"), rest


def read_v2(data):
    start, command, kind, length = struct.unpack_from("!12sBBH", data)
    assert (start, command, kind & 0xF) == (V2, 0x21, 1)
    size = {1: 4, 2: 16}[kind >> 4]
    source = ipaddress.ip_address(data[16 : 16 + size])
    (port,) = struct.unpack_from("!H", data, 16 + 2 * size)
    shown = f"[{source}]" if size == 16 else str(source)
    return f"{shown}:{port}", data[16 + length :]


READERS = {"v1": read_v1, "v2": read_v2}
