"""The phantom's eight shortcuts: drawn where their masks are, going with a finding as often as was asked."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from pellucid.data.readers.phantom.options import PhantomOptions, PlantedShortcuts, visible_shortcut
from pellucid.data.readers.phantom.reader import PHANTOM_CLASSES, open_phantom, render
from pellucid.data.readers.phantom.scene import draw_scene, make_scene, shortcut_masks
from pellucid.data.readers.phantom.shortcuts import KINDS, WITH_REGION, jpeg_trace
from pellucid.types import InputError

PLAIN = PhantomOptions()

# sha256 of the pixels and of the letter's masks of six images, as drawn when the letter was the only shortcut
LETTERS = {
    ("train", 1): "6f717510d17a836c0733f04258140f16140d450e5c1ef72c20b0be1d2524a67f",
    ("test", 1): "e44cbe3b9271dd7456fce8d6fbbdf21557950331ec4fda51e9e08715a6ba742a",
    ("train", 0): "8c8f0afadd36b24bec428a804206b0b889605df954d57c78058f5bb59da330af",
    ("test", 0): "00cf1f3bf7c12dafc045fa9278366af489f66c955132e6b3bdd4d23836556e4f",
}
OF_SEED = {
    1: {"size": 96, "prevalence": 0.25, "shortcuts": {"letter": {"finding": "Mass"}}},
    0: {"size": 64, "prevalence": 0.5, "shortcuts": {"letter": {"finding": "Nodule", "strength": 0.8}}},
}
# of four images of 64 pixels with each other kind, drawn on x86-64 with numpy 2.4
OTHERS = {
    "brightness": "dc55600507b4685162ed855b15bd77b88c005267b7f8d6a5a48199ad2667bb05",
    "collimator": "be79477ac2f36333407e0173d734f35995f49fdc638427bd3224ed12888a7f1f",
    "frame": "da1e3f267d0900b5ca24f382381f81bbad123fd7efb391f61e34ff96212bcef9",
    "jpeg": "c6e8f661b06b7267db73fe726d376ba4c51d70cff85688f82df11cf47d2c896a",
    "noise": "0e2f94164d9edb97f99a9cc60c238dfaecb65876e85c7c223b53bae8aba7adb0",
    "side_marker": "801110b29cb592735c8e6f78f7c90fd31888e3e84bd20502b4d9f5df8d663eaf",
    "tube": "3d7a1d0d46490de3ad6a012a1b18968265933438cb69e07f0121cc041334e2b8",
}


def drawn(index, planted, *, size=64, seed=5, split="train"):
    """An image with the shortcuts named, without findings; and their masks."""
    scene = make_scene(index, seed=seed, options=PLAIN, split=split, present=set(), planted=planted)
    return draw_scene(scene, size), shortcut_masks(scene, size)


@pytest.mark.parametrize(("split", "seed"), sorted(LETTERS))
def test_letters_are_those_that_results_were_made_with(split, seed):
    digest = hashlib.sha256()
    for index in range(6):
        image = render(index, seed=seed, options=OF_SEED[seed], split=split)
        digest.update(image.pixels.tobytes())
        if "letter" in image.masks:
            digest.update(np.packbits(image.masks["letter"]).tobytes())
    assert digest.hexdigest() == LETTERS[split, seed]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"letter"}))
def test_shortcuts_are_the_pinned_ones(kind):
    digest = hashlib.sha256(b"".join(drawn(index, {kind})[0].tobytes() for index in range(4)))
    assert digest.hexdigest() == OTHERS[kind]


@pytest.mark.parametrize("size", [64, 129])
@pytest.mark.parametrize("kind", WITH_REGION)
def test_a_thing_changes_the_image_in_its_mask_and_hardly_outside(kind, size):
    for index in range(0, 72, 12):
        (plain, none), (image, masks) = drawn(index, (), size=size), drawn(index, {kind}, size=size)
        assert none == {}
        assert list(masks) == [kind]
        change = np.abs(image.astype(int) - plain)
        mask = masks[kind]
        assert 4 <= mask.sum() < 0.2 * mask.size
        # little is seen of a thing where the film is as white or as dark as it is
        assert change[mask].mean() > 15, index
        assert change[~mask].mean() < 1.5, index
        assert change[mask].sum() > 0.6 * change.sum(), index


def test_what_changes_the_whole_image_has_no_mask():
    for index in range(0, 72, 12):
        plain = drawn(index, ())[0].astype(float)
        for kind in ("brightness", "noise", "jpeg"):
            image, masks = drawn(index, {kind})
            assert masks == {}
            assert (image != plain).mean() > 0.5, kind
        grain = {k: np.median(np.abs(np.diff(drawn(index, {k})[0].astype(float), 2))) for k in ("noise", "jpeg")}
        assert grain["noise"] > 1.5 * np.median(np.abs(np.diff(plain, 2))) > 1.8 * grain["jpeg"]
        rise = drawn(index, {"brightness"})[0] - plain
        assert 0.09 * 255 < np.median(rise) < 0.15 * 255
        assert abs((drawn(index, {"noise"})[0] - plain).mean()) < 2


def test_places_vary_with_the_image():
    centres = []
    for index in range(40):
        mask = drawn(index, {"side_marker"})[1]["side_marker"]
        centres.append([axis.mean() for axis in np.nonzero(mask)])
    down, across = np.transpose(centres)
    assert np.ptp(down) > 0.5 * 64
    assert 10 < (across < 32).sum() < 30
    assert ((across < 10) | (across > 54)).all()


def test_the_trace_of_jpeg_is_nearly_that_of_libjpeg():
    """Which rounds coefficients half away from zero, and its transform in its own way."""
    for index, quality in ((0, 15), (12, 29), (24, 75)):
        image = render(index, options={"size": 100}).pixels
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "jpeg", quality=quality)
        theirs = np.asarray(Image.open(stream)).astype(int)
        ours = jpeg_trace(image, quality)
        assert (np.abs(ours - theirs) <= 1).mean() > 0.95
        assert np.abs(theirs - image).mean() > 8 * np.abs(ours - theirs).mean()


def shares(split, count=600, **settings):
    """How often Mass, which half of the images show, and a shortcut go together."""
    options = {"size": 32, "prevalence": 0.5, "shortcuts": {"tube": {"finding": "Mass", **settings}}}
    options = PhantomOptions.parse(options)
    scenes = [make_scene(i, seed=0, options=options, split=split) for i in range(count)]
    present = np.array([any(f.label == "Mass" for f in s.findings) for s in scenes])
    shortcut = np.array([bool(s.shortcuts) for s in scenes])
    return shortcut[present].mean(), shortcut[~present].mean()


@pytest.mark.parametrize(
    ("split", "settings", "expected"),
    [
        ("train", {}, (0.95, 0.05)),
        ("validation", {"strength": 0.8}, (0.8, 0.2)),
        ("train", {"strength": 0.6, "elsewhere": 0.1}, (0.6, 0.1)),
        ("train", {"strength": 0.3, "elsewhere": 0.3}, (0.3, 0.3)),
        ("test", {"strength": 0.9}, (0.5, 0.5)),
        ("test", {"strength": 0.9, "elsewhere": 0.2, "associated_in_test": True}, (0.9, 0.2)),
    ],
)
def test_a_shortcut_lies_as_often_as_asked(split, settings, expected):
    for share, chance in zip(shares(split, **settings), expected, strict=True):
        # four deviations of a share of some 280 images
        assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / 280)


def test_two_at_a_time_and_the_truth_stands_in_the_metadata():
    planted = {"frame": {"finding": "Mass"}, "noise": {"finding": "Effusion", "strength": 0.7}}
    options = {"size": 32, "train": 30, "validation": 1, "test": 1, "prevalence": 0.5, "shortcuts": planted}
    data = open_phantom(options=options)["train"]
    assert list(data.metadata) == ["frame", "noise"]
    pairs = set()
    for index in range(30):
        image = render(index, options=options)
        np.testing.assert_array_equal(image.pixels, data.read(index))
        truth = {kind: column[index] for kind, column in data.metadata.items()}
        assert truth == {kind: "yes" if kind in image.shortcuts else "no" for kind in planted}
        assert ("frame" in image.masks) == (truth["frame"] == "yes")
        pairs.add(tuple(truth.values()))
    assert len(pairs) == 4
    framed = {i for i, _ in data.regions.pairs(["frame"])}
    assert framed == {i for i, has in enumerate(data.metadata["frame"]) if has == "yes"}
    assert open_phantom(options={**options, "shortcuts": {}})["train"].metadata == {}


def test_an_image_differs_by_its_shortcuts_alone_whatever_their_settings():
    frequent, rare = (
        {"size": 48, "shortcuts": {"jpeg": {"finding": "Mass", "strength": s, "elsewhere": s}}} for s in (1.0, 0.2)
    )
    for index in range(8):
        image, other = render(index, options=frequent), render(index, options=rare)
        expected = image.pixels if other.shortcuts else render(index, options={"size": 48}).pixels
        np.testing.assert_array_equal(other.pixels, expected)


def test_every_kind_can_be_asked_for_and_the_first_that_lies_somewhere_is_named():
    assert set(PlantedShortcuts.model_fields) == set(KINDS)
    for kind in KINDS:
        options = PhantomOptions.parse({"shortcuts": {kind: {"finding": PHANTOM_CLASSES[0]}}})
        visible = visible_shortcut(options.model_dump())
        assert visible == ((kind, PHANTOM_CLASSES[0]) if kind in WITH_REGION else None)


@pytest.mark.parametrize(
    ("shortcuts", "says"),
    [
        ({"letter": {"finding": "Efusion"}}, "shortcuts.letter.finding: .*Did you mean 'Effusion'"),
        ({"letter": {"finding": "Nothing like it"}}, "There are: Atelectasis"),
        ({"tub": {"finding": "Mass"}}, "unknown key 'shortcuts.tub'. Did you mean 'tube'"),
        ({"tube": {"finding": "Mass", "strenght": 1}}, "Did you mean 'strength'"),
        ({"tube": {}}, "the key 'shortcuts.tube.finding' is missing"),
        ({"tube": "Mass"}, "shortcuts.tube: .*found 'Mass'"),
        ({"noise": {"finding": "Mass", "strength": 1.2}}, "less than or equal to 1; found 1.2"),
    ],
)
def test_bad_shortcuts_say_how_to_mend_them(shortcuts, says):
    with pytest.raises(InputError, match=f"(?s){says}"):
        open_phantom(options={"shortcuts": shortcuts})
