"""Node ids follow from keys; bad keys and signatures are told from good ones."""

import pytest

from fabric.core.identity import has_signed, is_valid_key, node_id_of
from fabric.testing.factories import a_key

SMALL_ORDER_POINT = bytes([1]) + bytes(31)  # the neutral element


def test_a_node_id_is_frozen() -> None:
    assert node_id_of(bytes(range(32))) == "lrjjectsmprz2v4sbsqmw5jky3lzubh6"


def test_a_node_id_is_32_characters_that_a_file_name_may_hold() -> None:
    node_id = node_id_of(bytes(a_key().verify_key))

    assert len(node_id) == 32
    assert node_id.isalnum()
    assert node_id == node_id.lower()


def test_an_honest_key_is_valid() -> None:
    assert is_valid_key(bytes(a_key().verify_key))


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(SMALL_ORDER_POINT, id="small-order"),
        pytest.param(b"\xff" * 32, id="not-on-the-curve"),
        pytest.param(b"k" * 31, id="short"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_key_that_is_no_valid_point_is_refused(key: bytes) -> None:
    assert not is_valid_key(key)
    assert not has_signed(key, b"message", bytes(64))


def test_only_the_signer_signed_and_only_what_was_signed() -> None:
    key, other = a_key(1), a_key(2)
    signature = key.sign(b"message").signature

    assert has_signed(bytes(key.verify_key), b"message", signature)
    assert not has_signed(bytes(other.verify_key), b"message", signature)
    assert not has_signed(bytes(key.verify_key), b"massage", signature)
    assert not has_signed(bytes(key.verify_key), b"message", signature[:-1])
