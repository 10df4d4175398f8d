"""Selectors: what each selects, how it is spelled, and that nobody is the default."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.access import parse_selector, permits
from fabric.testing.factories import a_subject


@pytest.mark.parametrize(
    "text", ["any", "node:home-1", "role:egress", "area:home", "label:tier=gold"]
)
def test_a_selector_selects_what_it_says(text: str) -> None:
    assert permits([parse_selector(text)], a_subject())


@pytest.mark.parametrize(
    "text",
    ["node:home-2", "role:ingress", "area:test", "label:tier=tin", "label:rank=gold", "area:Home"],
)
def test_a_selector_selects_nothing_else(text: str) -> None:
    assert not permits([parse_selector(text)], a_subject())


def test_an_empty_list_permits_nobody() -> None:
    assert not permits([], a_subject())


def test_one_selector_of_several_is_enough() -> None:
    assert permits(map(parse_selector, ["node:nobody", "area:home"]), a_subject())


def test_a_node_without_an_area_is_not_in_the_area_of_no_name() -> None:
    with pytest.raises(ValueError, match="not a selector"):
        parse_selector("area:")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "everyone",
        "any:",
        "node",
        "node:",
        "label:tier",
        "label:=gold",
        "label:tier=",
        "NODE:x",
    ],
)
def test_a_misspelled_selector_is_refused_with_the_forms_that_exist(text: str) -> None:
    with pytest.raises(ValueError, match="label:KEY=VALUE"):
        parse_selector(text)


@given(
    st.sampled_from(["node:{}", "role:{}", "area:{}", "label:k={}", "label:{}=v"]),
    st.text("abc:=-", min_size=1).filter(lambda value: not value.startswith("=")),
)
def test_a_selector_is_printed_as_it_was_parsed(form: str, value: str) -> None:
    text = form.format(value)

    assert str(parse_selector(text)) == text


@pytest.mark.parametrize("text", ["label:k=" + "v" * 200, "node:a\nb"])
def test_a_selector_that_no_peer_could_be_told_is_refused(text):
    """It would not fit the frame that tells it, and end every link instead."""
    with pytest.raises(ValueError, match="160 printable"):
        parse_selector(text)
