"""Records on their way out: in frames that a probe can wait behind, and that everybody reads."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.codec import MAX_FRAME, encode
from fabric.core.frames import MOST_ENVELOPE, MOST_RECORDS, Records
from fabric.core.parcels import PART_BYTES, in_parts


def an_item(size: int, number: int = 0):
    return (b"e" * size, 1, number.to_bytes(8, "big"), 0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([1, 400, 5000, PART_BYTES, MOST_ENVELOPE]), min_size=1))
def test_all_records_leave_in_order_and_in_parts_that_fit(sizes):
    items = [an_item(size, number) for number, size in enumerate(sizes)]

    parts = list(in_parts(items))

    assert [item for part in parts for item in part] == items
    for part in parts:
        assert part
        assert len(part) == 1 or sum(len(item[0]) for item in part) <= PART_BYTES
        assert len(encode(Records(items=part))) <= MAX_FRAME


def test_no_frame_holds_more_records_than_it_may():
    parts = list(in_parts([an_item(1)] * (2 * MOST_RECORDS + 1)))

    assert [len(part) for part in parts] == [MOST_RECORDS, MOST_RECORDS, 1]
