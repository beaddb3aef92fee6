"""Facts and arrays as bytes: back bit by bit, small, and damage is noticed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from worldjepa.data.video.index_arrays import pack, unpack

KINDS = st.sampled_from([np.int64, np.float64, np.uint32])


@given(st.lists(KINDS.flatmap(lambda kind: arrays(kind, st.integers(0, 40))), max_size=3))
def test_what_was_packed_comes_back_bit_by_bit(values):
    given_arrays = {f"a{i}": value for i, value in enumerate(values)}
    facts, found = unpack(pack({"name": "x", "share": 0.1}, given_arrays))
    assert facts == {"name": "x", "share": 0.1}
    assert list(found) == list(given_arrays)
    for name, value in given_arrays.items():
        assert found[name].dtype == value.dtype
        assert found[name].tobytes() == value.tobytes()


def test_timestamps_take_about_a_byte_each():
    seconds = np.arange(300) / 29.97
    assert len(pack({}, {"seconds": seconds})) < 400 < seconds.nbytes / 5


def test_damage_is_noticed():
    data = bytearray(pack({}, {"a": np.arange(9)}))
    data[-1] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        unpack(bytes(data))
    with pytest.raises(ValueError, match="expected 8 bytes"):
        unpack(b"abc")
