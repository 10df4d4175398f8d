"""What a node tells others of where it is."""

import ipaddress

import pytest

from fabric.config import HostPort
from fabric.core.records import CandidateKind
from fabric.runtime import candidates
from fabric.runtime.candidates import candidates_at

WILDCARD = HostPort("0.0.0.0", 4433)


def addresses(listening, *advertised, locality_group=""):
    found = candidates_at(listening, advertised, locality_group=locality_group)
    return [(each.address, each.kind, each.scope) for each in found]


@pytest.fixture
def machine(monkeypatch):
    def has(*hosts):
        def of(version):
            return (each for each in hosts if ipaddress.ip_address(each).version == version)

        monkeypatch.setattr(candidates, "_all_hosts", of)

    return has


def test_what_the_operator_advertises_is_all_that_is_told(machine):
    machine("192.0.2.9")
    named = HostPort("node.example", 443), HostPort("198.51.100.1", 443)
    assert addresses(WILDCARD, *named, locality_group="lan") == [
        ("node.example:443", CandidateKind.PUBLIC, ""),
        ("198.51.100.1:443", CandidateKind.PUBLIC, ""),
    ]


def test_an_address_that_is_listened_on_is_told_with_its_port():
    assert addresses(HostPort("9.9.9.9", 4433)) == [("9.9.9.9:4433", CandidateKind.PUBLIC, "")]


def test_a_private_address_is_for_its_own_locality_group():
    found = addresses(HostPort("10.0.0.1", 4433), locality_group="lan")
    assert found == [("10.0.0.1:4433", CandidateKind.HOST, "lan")]


def test_a_wildcard_stands_for_the_machines_addresses_public_ones_first(machine):
    machine("127.0.0.1", "10.0.0.1", "9.9.9.9")
    assert [each[0] for each in addresses(WILDCARD)] == ["9.9.9.9:4433", "10.0.0.1:4433"]


def test_a_wildcard_of_ipv6_stands_for_the_addresses_of_ipv4_too(machine):
    machine("127.0.0.1", "10.0.0.1", "9.9.9.9", "::1", "2606:4700::1")
    assert [each[0] for each in addresses(HostPort("::", 4433))] == [
        "[2606:4700::1]:4433",
        "9.9.9.9:4433",
        "10.0.0.1:4433",
    ]
    assert [each[0] for each in addresses(WILDCARD)] == ["9.9.9.9:4433", "10.0.0.1:4433"]


def test_a_machine_with_nothing_but_loopback_tells_that(machine):
    machine("127.0.0.1")
    assert [each[0] for each in addresses(WILDCARD)] == ["127.0.0.1:4433"]


def test_no_more_is_told_than_a_record_holds(machine):
    machine(*(f"9.9.9.{number}" for number in range(20)))
    assert len(addresses(WILDCARD)) == 8


def test_ipv6_stands_in_brackets():
    assert addresses(HostPort("2606:4700::1", 4433))[0][0] == "[2606:4700::1]:4433"
