"""The JSON that is written is that of the standard library, letter for letter."""

from __future__ import annotations

import enum
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.utils.resources import finite, json_text

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
)


def written(value):
    return json.dumps(finite(value), indent=2, ensure_ascii=False)


@given(VALUES)
def test_it_is_what_the_standard_library_writes(value):
    assert json_text(value) == written(value)


class Words(enum.StrEnum):
    YES = "yes"


class Numbers(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.1),
        np.float32(0.1),
        np.float64(math.nan),
        np.int64(3),
        np.bool_(True),
        np.array([[1.0, math.inf], [2.0, 3.0]]),
        np.zeros((2, 0)),
        Words.YES,
        Numbers.ONE,
        -0.0,
        1e300,
        '\u2028 \x00 \ud800 " \\ ä',
        {1: 2, None: {}, 0.5: ()},
    ],
    ids=repr,
)
def test_of_kinds_of_numbers_and_texts_too(value):
    for nested in (value, [value], {"deep": [{"er": value}]}):
        assert json_text(nested) == written(nested)


def test_what_is_no_json_is_refused():
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        json_text({"a": [{1}]})
