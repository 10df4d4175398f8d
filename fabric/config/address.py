"""A host and a port, written ``host:port``, an IPv6 address in brackets."""

from __future__ import annotations

import ipaddress
import re

from attrs import frozen

# RFC 1123 labels; an underscore is let through because container networks hand out such names.
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\Z")
_MOST_HOST_NAME_BYTES = 253


@frozen
class HostPort:
    """Where something listens. Port 0 asks the system for a free one and is legal to bind only."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """Read ``host:port`` or ``[v6]:port``. :exc:`ValueError` says what is wrong with it."""
        host, colon, port = text.rpartition(":")
        if not colon:
            raise ValueError("has no port")
        if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
            raise ValueError("its port is not a number from 0 to 65535")
        if host.startswith("[") and host.endswith("]"):
            return cls(str(_address(host[1:-1], version=6)), int(port))
        if ":" in host:
            raise ValueError("an IPv6 address needs brackets")
        if not host:
            raise ValueError("has no host")
        return cls(_host(host), int(port))

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address, so that nothing has to be looked up."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of this machine: to listen on, not to go to."""
        return self.is_address and ipaddress.ip_address(self.host).is_unspecified

    def overlaps(self, other: HostPort) -> bool:
        """Whether both cannot be bound at once: one port, and one host or a wildcard over it."""
        if self.port != other.port or self.port == 0:
            return False
        wildcard = "::" if ":" in self.host else "0.0.0.0"
        same_family = (":" in self.host) == (":" in other.host)
        return self.host == other.host or (same_family and wildcard in (self.host, other.host))


def _host(text: str) -> str:
    # Digits and dots are meant as an address: resolvers read 127.1 and 1.2.3 in ways of their own.
    if re.fullmatch(r"[0-9.]+", text):
        return str(_address(text, version=4))
    if len(text) > _MOST_HOST_NAME_BYTES or not _HOST_NAME.match(text):
        raise ValueError("its host is neither a name nor an address")
    return text


def _address(text: str, *, version: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    if address.version != version:
        raise ValueError(f"{text} is no IPv{version} address")
    return address
