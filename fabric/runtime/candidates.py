"""Where a socket of this machine may be reached: what its addresses are, and how far each goes."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

import psutil

from fabric.config import HostPort
from fabric.core.records import MOST_CANDIDATES, Candidate, CandidateKind


def candidates_at(
    listening: HostPort, advertised: tuple[HostPort, ...], *, locality_group: str
) -> tuple[Candidate, ...]:
    """Return the addresses to tell others, best first.

    What the operator *advertised*, and nothing else; without that the address that the socket is
    bound to or, for a wildcard, those of this machine: private ones for this locality group only,
    where there is one.
    """
    if advertised:
        return tuple(
            Candidate(address=str(place), kind=CandidateKind.PUBLIC) for place in advertised
        )
    address = ipaddress.ip_address(listening.host)
    # a socket on ``::`` takes IPv4 too
    versions = (4,) if address.version == 4 else (6, 4)
    hosts = _own_hosts(versions) if address.is_unspecified else [str(address)]
    found = (_found(host, listening.port, locality_group) for host in hosts)
    return tuple(found)[:MOST_CANDIDATES]


def _found(host: str, port: int, locality_group: str) -> Candidate:
    is_private = ipaddress.ip_address(host).is_private
    return Candidate(
        address=str(HostPort(host, port)),
        kind=CandidateKind.HOST if is_private else CandidateKind.PUBLIC,
        scope=locality_group if is_private else "",
        provenance="interface",
    )


def _own_hosts(versions: tuple[int, ...]) -> list[str]:
    """Return this machine's addresses, public ones first; loopback where there is nothing else.

    Of *versions*; of as near ones, those of IPv6 first.
    """
    found = {host for version in versions for host in _all_hosts(version)}
    hosts = sorted(found, key=lambda host: (_is_near(host), -_version_of(host), host))
    far = [host for host in hosts if not ipaddress.ip_address(host).is_loopback]
    return far or hosts


def _version_of(host: str) -> int:
    return ipaddress.ip_address(host).version


def _is_near(host: str) -> bool:
    return ipaddress.ip_address(host).is_private


def _all_hosts(version: int) -> Iterator[str]:
    families = {socket.AF_INET: 4, socket.AF_INET6: 6}
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if families.get(each.family) != version or "%" in each.address:
                continue  # a link-local address means nothing elsewhere
            if not ipaddress.ip_address(each.address).is_link_local:
                yield each.address
