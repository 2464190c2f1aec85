"""What is written for one image never replaces what is written for another."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from helpers.models import small
from pellucid.models.weights import save_model
from pellucid.utils.output_names import output_names

STEMS = st.lists(st.text("iImM\u00e9-2adversl", min_size=1, max_size=16) | st.sampled_from(["img", "img-2", "curve"]))


@given(STEMS)
@example(["img", "img", "img-2"])
@example(["img-2", "img", "img"])
@example(["IMG", "img"])
@example(["cafe\u0301", "caf\u00e9"])
@example(["img", "img-adversarial"])
@example(["img-adversarial", "img"])
@example(["curve"])
def test_no_two_images_share_a_file(stems):
    names = output_names(stems)
    files = ["curve.png"] + [f"{name}{tail}.png" for name in names for tail in ("", "-adversarial")]
    assert len({file.lower() for file in files}) == len(files)
    assert all(name.startswith(stem) for stem, name in zip(stems, names, strict=True))
    assert output_names(names) == names  # the names that came out are kept where they are used again


@pytest.mark.slow
def test_explain_keeps_the_maps_of_images_of_one_name(pellucid, tmp_path):
    model = save_model(small(task="multiclass", classes="ab"), tmp_path / "run")
    places = [tmp_path / "in" / name for name in ("a/img.png", "b/img.png", "b/img-2.png")]
    for number, place in enumerate(places):
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)).save(place)
    how = ["--method", "saliency", "--device", "cpu"]
    assert pellucid("explain", model, *places, *how, "--out", tmp_path / "all")[0] in (0, None)
    rows = json.loads((tmp_path / "all" / "explain.json").read_text())["images"]
    assert [row["image"] for row in rows] == [str(place) for place in places]
    assert len({row["maps"] for row in rows} | {row["panel"] for row in rows}) == 6
    for place, row in zip(places, rows, strict=True):  # each as it comes out where it is explained alone
        assert pellucid("explain", model, place, *how, "--out", tmp_path / "one")[0] in (0, None)
        (alone,) = json.loads((tmp_path / "one" / "explain.json").read_text())["images"]
        with np.load(tmp_path / "all" / row["maps"]) as kept, np.load(tmp_path / "one" / alone["maps"]) as expected:
            assert kept.files == expected.files
            for name in kept.files:
                np.testing.assert_allclose(kept[name], expected[name], rtol=1e-4, atol=1e-6)
