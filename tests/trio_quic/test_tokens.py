"""Retry and reset tokens: good for one address, one connection, a short time; else worthless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.trio_quic.tokens import TOKEN_LIFE, RetryTokens, pack_address, reset_token

KEY = bytes(range(32))
ADDRESS = ("192.0.2.7", 50_123)
RETRY_CID = b"retried!"
ORIGINAL = b"original"

addresses = st.tuples(
    st.ip_addresses().map(str).filter(lambda text: "%" not in text),
    st.integers(min_value=0, max_value=65_535),
)
cids = st.binary(min_size=8, max_size=20)


def a_token(now=100.0, address=ADDRESS):
    return RetryTokens(KEY).mint(address, RETRY_CID, ORIGINAL, now)


@given(address=addresses, retry_cid=cids, original=cids, now=st.floats(0, 1e9))
def test_a_token_gives_the_original_cid_back(address, retry_cid, original, now):
    tokens = RetryTokens(KEY)
    token = tokens.mint(address, retry_cid, original, now)
    assert tokens.redeem(token, address, retry_cid, now) == original
    assert tokens.redeem(token, address, retry_cid, now + TOKEN_LIFE - 0.01) == original


def test_an_expired_token_is_worthless():
    assert RetryTokens(KEY).redeem(a_token(), ADDRESS, RETRY_CID, 100.1 + TOKEN_LIFE) is None


def test_a_token_from_the_future_is_worthless():
    assert RetryTokens(KEY).redeem(a_token(now=200.0), ADDRESS, RETRY_CID, 100.0) is None


@pytest.mark.parametrize(
    "other", [("192.0.2.8", 50_123), ("192.0.2.7", 50_124), ("2001:db8::7", 50_123)]
)
def test_a_token_of_another_address_is_worthless(other):
    assert RetryTokens(KEY).redeem(a_token(), other, RETRY_CID, 100.0) is None


def test_a_token_for_another_connection_id_is_worthless():
    assert RetryTokens(KEY).redeem(a_token(), ADDRESS, b"retried?", 100.0) is None


def test_a_token_of_another_endpoint_is_worthless():
    assert RetryTokens(bytes(32)).redeem(a_token(), ADDRESS, RETRY_CID, 100.0) is None


@given(data=st.data())
def test_a_token_altered_anywhere_is_worthless(data):
    token = a_token()
    bit = data.draw(st.integers(0, 8 * len(token) - 1))
    altered = bytearray(token)
    altered[bit // 8] ^= 1 << bit % 8
    assert RetryTokens(KEY).redeem(bytes(altered), ADDRESS, RETRY_CID, 100.0) is None


@given(token=st.binary(max_size=80))
def test_noise_is_no_token(token):
    assert RetryTokens(KEY).redeem(token, ADDRESS, RETRY_CID, 100.0) is None


@given(one=addresses, other=addresses)
def test_no_two_addresses_are_packed_alike(one, other):
    assert (pack_address(one) == pack_address(other)) == (one == other)


@given(one=cids, other=cids)
def test_reset_tokens_differ_by_connection_and_by_key(one, other):
    assert (reset_token(KEY, one) == reset_token(KEY, other)) == (one == other)
    assert reset_token(KEY, one) != reset_token(bytes(32), one)
    assert len(reset_token(KEY, one)) == 16
