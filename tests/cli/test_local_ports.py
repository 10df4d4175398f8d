"""Taken ports: who holds them, and what to type instead."""

from __future__ import annotations

import os
import socket

import pytest

from cli.exits import CommandError
from cli.local.ports import free_ports, holder, is_free, next_free
from cli.local.up import require_free


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_listening_port_is_taken(taken):
    assert not is_free(taken, socket.SOCK_STREAM)
    assert is_free(free_ports(socket.SOCK_STREAM, 1)[0], socket.SOCK_STREAM)


def test_a_bound_datagram_port_is_taken():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        assert not is_free(bound.getsockname()[1], socket.SOCK_DGRAM)


def test_the_refusal_names_the_holder_and_a_port_to_use_instead(taken):
    with pytest.raises(CommandError) as caught:
        require_free(taken)
    assert f"127.0.0.1:{taken}" in caught.value.message
    assert f"pid {os.getpid()}" in caught.value.message
    assert f"make up PORT={next_free(taken)}" in caught.value.remedy
    assert f"fabricctl up --port {next_free(taken)}" in caught.value.remedy


def test_a_port_that_nobody_listens_on_has_no_holder():
    assert holder(free_ports(socket.SOCK_STREAM, 1)[0]) == ""
