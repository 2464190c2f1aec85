"""How an image becomes the rectangle that a network takes: what is said of it, in code, texts and cards."""

from __future__ import annotations

import tomllib

import pytest
import tomli_w

from helpers.models import small
from pellucid.models.weights import load_model, save_model
from pellucid.types import Geometry, InputError, InputSpec

CROP = Geometry("crop", resize=48, interpolation="bicubic")


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec.square(3, 224),
        InputSpec(1, 320, 256, Geometry("pad", interpolation="lanczos", fill=0.5)),
        InputSpec.square(3, 224, Geometry("crop", resize=256, interpolation="bicubic")),
        InputSpec.square(3, 224, Geometry("crop", interpolation="bilinear", antialias=False)),
        InputSpec(1, 224, 192, Geometry("cut", interpolation="bicubic")),
        InputSpec.square(3, 224, Geometry("stretch", resize=256, interpolation="box", offset="floor")),
    ],
)
def test_a_text_gives_the_same_input_back(spec):
    assert InputSpec.parse(spec.preprocess, spec.channels) == spec


def test_what_a_text_means():
    assert InputSpec.parse("crop:256:224:bicubic", 3) == InputSpec(
        3, 224, 224, Geometry("crop", resize=256, interpolation="bicubic")
    )
    assert InputSpec.parse("stretch:128", 1) == InputSpec.square(1, 128)
    assert InputSpec.parse("pad:64x96:fill=1", 1) == InputSpec(1, 64, 96, Geometry("pad", fill=1.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crop", "not FIT"),
        ("crop:", "not FIT"),
        ("crop:1:2:3:4", "not FIT"),
        ("crop:2x3x4", "not FIT"),
        ("crop:256:2²4", "not FIT"),
        ("trim:224", "fit must be one of stretch, crop, cut, pad; found 'trim'"),
        ("cut:256:224", "cut takes the largest part from the centre .* neither a resize"),
        ("cut:224:bilinear:floor", "nor a floor"),
        ("crop:224:cubic", "interpolation must be one of bilinear, .*found 'cubic'"),
        ("crop:200:224", "resized to 200 has no crop of 224 × 224"),
        ("pad:256:224", "pad makes the whole image fit and takes no resize"),
        ("crop:224:lanczos:no-antialias", "without antialiasing there are bilinear and bicubic; found lanczos"),
        ("pad:224:fill=2", r"fill must lie between 0 \(black\) and 1"),
        ("pad:224:fill=nan", r"fill must lie between 0 \(black\) and 1"),
        ("pad:224:fill=black", "fill needs a number"),
        ("crop:224:fill=0.5", "only pad has pixels to fill"),
        ("crop:0", "height must be a positive whole number; found 0"),
    ],
)
def test_a_text_that_means_nothing_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        InputSpec.parse(text, channels=1)


def test_a_model_folder_carries_height_width_and_geometry(tmp_path):
    model = small(task="multiclass", size=(32, 40), classes="ab", geometry=CROP)
    assert model.input_spec == InputSpec(1, 32, 40, CROP)
    save_model(model, tmp_path)
    assert load_model(tmp_path).input_spec == model.input_spec
    written = tomllib.loads((tmp_path / "model.toml").read_text())["input"]
    assert (written["height"], written["width"], written["geometry"]["fit"]) == (32, 40, "crop")


def test_a_card_of_before_with_a_size_alone_is_a_stretched_square(tmp_path):
    save_model(small(task="multiclass", classes="ab"), tmp_path)
    path = tmp_path / "model.toml"
    card = tomllib.loads(path.read_text())
    card.pop("sha256")
    card["input"] = {"channels": 1, "size": 32, "mean": [0.5], "std": [0.25]}
    path.write_text(tomli_w.dumps(card))
    assert load_model(tmp_path).input_spec == InputSpec.square(1, 32, Geometry("stretch"))
