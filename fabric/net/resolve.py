"""Host names to numbers, before a dial: the QUIC endpoint takes numbers only."""

from __future__ import annotations

import trio


async def resolve(address: tuple[str, int], *, v6: bool, timeout: float) -> tuple[str, int]:
    """Return *address* with its host as a number, IPv6 (or IPv4 in its clothes) if *v6*.

    Raises :exc:`OSError` when the name is unknown, or cannot be one, or not found out in time.
    """
    host, port = address
    family = trio.socket.AF_INET6 if v6 else trio.socket.AF_INET
    flags = trio.socket.AI_V4MAPPED if v6 else 0  # a socket for both families
    with trio.move_on_after(timeout):
        try:
            found = await trio.socket.getaddrinfo(
                host, port, family, trio.socket.SOCK_DGRAM, 0, flags
            )
        except UnicodeError as error:  # of what no name can be written in, or no label be as long
            raise OSError(f"{host!r} is no name: {error}") from error
        return str(found[0][4][0]), port
    raise OSError(f"the name {host} was not found out in {timeout} s")
