"""Shapes become the pixels that they cover; several people's marks and verdicts become one; how far they agree."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from pellucid.annotations.agreement import agreement
from pellucid.annotations.records import AnnotationSet, LabelAnswer, Mark, Note
from pellucid.annotations.shapes import (
    MAX_POINTS,
    Brush,
    Polygon,
    Rectangle,
    drawn_mask,
    shape_from_json,
    shape_mask,
    shape_to_json,
)
from pellucid.data.placement import Placement
from pellucid.types import InputError

FRACTION = st.floats(0, 1, allow_nan=False, width=32)
POINT = st.tuples(FRACTION, FRACTION)
HALF = 0.5  # pixels


def centres(height, width):
    """The centres of the pixels of an image, in its pixels."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return x, y


def distance_to_line(x, y, points):
    """From every (x, y) to the nearest place of a line through points."""
    nearest = np.full(x.shape, np.inf)
    for (ax, ay), (bx, by) in pairwise([*points, points[-1]]):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        t = np.zeros_like(x) if length == 0 else np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)))
    return nearest


def inside(x, y, points):
    """Even-odd rule, by crossings of a ray to the right."""
    odd = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in pairwise([*points, points[0]]):
        crosses = (ay > y) != (by > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = ax + (y - ay) * (bx - ax) / (by - ay)
        odd ^= crosses & (x < at)
    return odd


def check(mask, beyond):
    """A mask against how far pixel centres are beyond an outline, below 0 inside; what is tiny keeps some pixel."""
    if (beyond < -HALF).any():
        far = np.abs(beyond) > HALF
        assert (mask == (beyond < 0))[far].all()
    assert mask.any()
    assert beyond[mask].max() < 1  # a pixel that is touched has its centre this near


@settings(max_examples=100, deadline=None)
@given(points=st.lists(POINT, min_size=3, max_size=8), height=st.integers(4, 90), width=st.integers(4, 90))
def test_a_polygon_covers_its_pixels_to_half_a_pixel(points, height, width):
    mask = drawn_mask(Polygon(tuple(points)), Placement.whole(height, width))
    x, y = centres(height, width)
    corners = [(px * width, py * height) for px, py in points]
    outline = distance_to_line(x, y, [*corners, corners[0]])
    check(mask, np.where(inside(x, y, corners), -outline, outline))


def test_a_brush_on_a_very_wide_or_high_image():
    wide = shape_mask(Brush(((0.5, 0.5),), 0.02, 30 / 4000), 200)  # 80 pixels on an image that is 30 high
    assert wide.any(1).all()
    assert wide.any(0).sum() == pytest.approx(8, abs=2)
    high = shape_mask(Brush(((0.5, 0.5025),), 0.4, 4000 / 30), 200)  # 1.2 rows high, in the middle of one
    assert np.flatnonzero(high.any(1)).tolist() == [100]
    half = 80 * np.sqrt(1 - (0.25 / 0.6) ** 2)  # up to where half of the row is covered
    assert high.sum() == pytest.approx(2 * half, abs=3)


@settings(max_examples=150, deadline=None)
@given(
    points=st.lists(POINT, min_size=1, max_size=5),
    radius=st.floats(0.005, 0.4),
    height=st.integers(4, 90),
    width=st.integers(4, 90),
)
def test_a_brush_is_round_in_the_image_and_right_to_half_a_pixel(points, radius, height, width):
    mask = drawn_mask(Brush(tuple(points), radius, height / width), Placement.whole(height, width))
    x, y = centres(height, width)
    check(mask, distance_to_line(x, y, [(px * width, py * height) for px, py in points]) - radius * width)


@given(points=st.lists(POINT, min_size=1, max_size=4), radius=st.floats(0.02, 0.3), aspect=st.floats(0.4, 2.5))
def test_a_stroke_on_an_image_that_is_not_square_is_stretched_with_it(points, radius, aspect):
    """The square that a network gets: the same pixels as on the image itself, up to the coarser grid."""
    size = 64
    square = shape_mask(Brush(tuple(points), radius, aspect), size)
    x, y = centres(size, size)
    line = [(px * size, py * size * aspect) for px, py in points]  # in pixels as high as wide, as on the image
    beyond = distance_to_line(x, y * aspect, line) - radius * size
    far = np.abs(beyond) > HALF * max(1, aspect)
    assert (square == (beyond < 0))[far].all()


@given(x=FRACTION, y=FRACTION, size=st.integers(1, 100))
def test_nothing_drawn_vanishes(x, y, size):
    assert shape_mask(Brush(((x, y),), 1e-4), size).sum() >= 1
    assert shape_mask(Polygon(((x, y), (x, y), (x, y))), size).sum() >= 1


def test_a_rectangle_covers_the_pixels_whose_centres_it_holds():
    mask = shape_mask(Rectangle(0.25, 0.5, 0.5, 0.25), 8)
    assert mask[4:6, 2:6].all()
    assert mask.sum() == 8


@settings(max_examples=100, deadline=None)
@given(
    shape=st.one_of(
        st.builds(lambda p: Polygon(tuple(p)), st.lists(POINT, min_size=3, max_size=9)),
        st.builds(
            lambda p, r: Brush(tuple(p), r, 1.25), st.lists(POINT, min_size=1, max_size=9), st.floats(0.001, 0.5)
        ),
        st.builds(Rectangle, st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0.001, 0.5), st.floats(0.001, 0.5)),
    )
)
def test_a_shape_comes_back_from_json_exactly(shape):
    assert shape_from_json(shape_to_json(shape)) == shape


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "object"),
        ({"type": "circle"}, "rectangle, polygon or brush"),
        ({"type": ["polygon"]}, "rectangle, polygon or brush"),
        ({"type": "polygon", "points": [[0, 0], [1, 1]]}, "from 3 to"),
        ({"type": "polygon", "points": [[0, 0], [1, 1], [2, 0]]}, "from 0 to 1"),
        ({"type": "polygon", "points": [[0, 0], [1, 1], [float("nan"), 0]]}, "among them"),
        ({"type": "polygon", "points": [[0, 0], [1, 1], [1, 0, 1]]}, "among them"),
        ({"type": "polygon", "points": [[0, 0], [1, 1], ["1", 0]]}, "among them"),
        ({"type": "polygon", "points": [[0, 0]] * (MAX_POINTS + 1)}, "at most 10,000"),
        ({"type": "polygon", "points": "abc"}, "list"),
        ({"type": "polygon"}, "points"),
        ({"type": "brush", "points": [[0, 0]], "radius": 0}, "radius"),
        ({"type": "brush", "points": [[0, 0]], "radius": 1e308}, "finite number"),
        ({"type": "brush", "points": [[0, 0]], "radius": True}, "finite number"),
        ({"type": "brush", "points": [], "radius": 0.1}, "from 1 to"),
        ({"type": "brush", "points": [[0, 0]], "radius": 0.1, "aspect": 0}, "height divided"),
        ({"type": "rectangle", "x": 0, "y": 0, "width": 0, "height": 1}, "above 0"),
        ({"type": "rectangle", "x": 0.5, "y": 0, "width": 0.6, "height": 1}, "from 0 to 1"),
        ({"type": "rectangle", "x": 0.5, "y": 0, "width": 0.1, "height": 1, "z": 1}, "has type"),
        ({"type": "rectangle", "x": float("inf"), "y": 0, "width": 0.1, "height": 1}, "finite number"),
    ],
)
def test_what_is_no_shape_is_refused(value, told):
    with pytest.raises(InputError, match=told):
        shape_from_json(value)


def test_a_later_stroke_paints_over_an_earlier_one_and_one_taken_back_counts_for_nothing():
    half, all_of_it = Rectangle(0, 0, 0.5, 1), Rectangle(0, 0, 1, 1)
    first = Mark("a", "Nodule", "irrelevant", all_of_it, "ann")
    second = Mark("a", "Nodule", "relevant", half, "ann")
    relevant, irrelevant = AnnotationSet([first, second]).masks(["a"], ["Nodule"], 4)
    assert relevant[0, 0].tolist() == [[True, True, False, False]] * 4
    assert (relevant ^ irrelevant).all()
    relevant, irrelevant = AnnotationSet([first, replace(second, undone=True)]).masks(["a"], ["Nodule"], 4)
    assert not relevant.any()
    assert irrelevant.all()


def test_what_most_people_painted_counts_and_a_tie_is_neither():
    left, right = Rectangle(0, 0, 0.5, 1), Rectangle(0.5, 0, 0.5, 1)
    marks = [
        Mark("a", "Mass", "relevant", left, "ann"),
        Mark("a", "Mass", "relevant", left, "bob"),
        Mark("a", "Mass", "irrelevant", left, "cid"),
        Mark("a", "Mass", "relevant", right, "ann"),
        Mark("a", "Mass", "irrelevant", right, "bob"),
    ]
    relevant, irrelevant = AnnotationSet(marks).masks(["b", "a"], ["Nodule", "Mass"], 2)
    assert relevant[1, 1].tolist() == [[True, False]] * 2
    assert not irrelevant.any()
    assert relevant.sum() == 2  # nothing on image b or of class Nodule


def test_labels_are_what_most_people_say_and_unsure_says_nothing():
    said = [("ann", "yes"), ("bob", "yes"), ("cid", "no"), ("dan", "unsure")]
    verdicts = [LabelAnswer("a", "Mass", present, who) for who, present in said]
    verdicts += [
        LabelAnswer("b", "Mass", "yes", "ann"),
        LabelAnswer("b", "Mass", "no", "bob"),
        LabelAnswer("c", "Mass", "no", "ann"),
    ]
    found = AnnotationSet((), verdicts).labels(["a", "b", "c", "d"], ["Mass", "Nodule"])
    assert found.shape == (4, 2)
    assert np.array_equal(found[:, 0], [1, np.nan, 0, np.nan], equal_nan=True)
    assert np.isnan(found[:, 1]).all()
    assert AnnotationSet((), verdicts).image_ids == ("a", "b", "c")


def test_marks_verdicts_and_notes_that_are_none_are_refused():
    with pytest.raises(InputError, match="relevant or irrelevant"):
        Mark("a", "Mass", "important", Rectangle(0, 0, 1, 1))
    with pytest.raises(InputError, match="yes, no or unsure"):
        LabelAnswer("a", "Mass", "maybe")
    for text in ("a\0b", "\ud800"):
        with pytest.raises(InputError, match="none"):
            Note("a", text)


def test_agreement_is_cohens_kappa_over_pairs_of_people():
    random = np.random.default_rng(0)
    said = {who: random.choice(["yes", "no"], 30) for who in ("ann", "bob", "cid")}
    verdicts = [LabelAnswer(str(i), "Mass", str(v), who) for who, values in said.items() for i, v in enumerate(values)]
    verdicts = [v for v in verdicts if not (v.annotator == "cid" and int(v.image) >= 10)]
    (found,) = agreement(AnnotationSet((), verdicts), ["Mass"])
    pairs = [("ann", "bob", 30), ("ann", "cid", 10), ("bob", "cid", 10)]
    kappas = [cohen_kappa_score(said[a][:n], said[b][:n]) for a, b, n in pairs]
    assert found.verdicts == 50
    assert found.kappa == pytest.approx(np.average(kappas, weights=[30, 10, 10]))


def test_agreement_on_regions_is_their_mean_overlap():
    marks = [
        Mark("a", "Mass", "relevant", Rectangle(0, 0, 0.5, 1), "ann"),
        Mark("a", "Mass", "relevant", Rectangle(0.25, 0, 0.5, 1), "bob"),
        Mark("b", "Mass", "relevant", Rectangle(0, 0, 0.5, 1), "ann"),
        Mark("b", "Mass", "relevant", Rectangle(0, 0, 0.5, 1), "bob"),
        Mark("c", "Mass", "relevant", Rectangle(0, 0, 0.5, 1), "ann"),
        Mark("c", "Mass", "irrelevant", Rectangle(0, 0, 0.5, 1), "bob"),
    ]
    (mass, nodule) = agreement(AnnotationSet(marks), ["Mass", "Nodule"])
    assert mass.regions["relevant"] == (2, pytest.approx((1 / 3 + 1) / 2))
    assert mass.regions["irrelevant"][0] == 0
    assert math.isnan(mass.regions["irrelevant"][1])
    assert math.isnan(nodule.kappa)


def test_kappa_is_undefined_where_everybody_always_said_the_same():
    verdicts = [LabelAnswer(str(i), "Mass", "no", who) for who in ("ann", "bob") for i in range(5)]
    (found,) = agreement(AnnotationSet((), verdicts), ["Mass"])
    assert found.verdicts == 5
    assert math.isnan(found.kappa)
