"""Images that are smaller than the crop: counted as by brute force, and told of, however the images were come by."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pellucid.data import materialize, open_dataset
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.cache.manifest import BLOCK
from pellucid.data.cache.pixels import cache_path, counted_pixels
from pellucid.data.cache.shards import write_shards
from pellucid.data.cache.small_images import SmallImages, SmallImagesWarning
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.types import InputError, InputSpec

pytestmark = pytest.mark.filterwarnings("ignore::pellucid.data.cache.small_images.SmallImagesWarning")
COUNT = 2 * BLOCK + 20
CROPS = ("crop:9:7", "crop:7", "crop:9x6:nearest", "crop:9:7x5", "cut:9", "cut:7x5")
SPECS = (*CROPS, "stretch:12", "stretch:12x20", "stretch:14:11", "pad:12x16")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("originals"), np.random.default_rng(3)
    for i in range(COUNT):
        place = folder / "ab"[i % 2] / f"{i:03d}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, tuple(rng.integers(3, 21, 2)), dtype=np.uint8)).save(place)
    return folder


def opened(folder):
    return open_dataset("folder", folder, options={"test_fraction": 1})["test"]


def sizes_of(dataset):
    return [Image.open(file.path).size[::-1] for file in dataset.files]


def counted(dataset, text):
    """By the sizes of the files alone: how far each is enlarged, by the definitions of crop, stretch and pad."""
    spec = InputSpec.parse(text, 1)
    small = []
    for height, width in sizes_of(dataset):
        high, wide = spec.height / height, spec.width / width
        if spec.geometry.fit in {"crop", "cut"}:
            is_small = height < spec.height or width < spec.width
        elif spec.geometry.fit == "pad":
            is_small = min(high, wide) > 2
        else:
            side = spec.geometry.resize
            is_small = max(high, wide) > 2 if side is None else side / min(height, width) > 2
        if is_small:
            small.append((height, width))
    return len(small), min(map(min, small), default=None)


def as_counted(small):
    return small.images, None if small.smallest is None else min(small.smallest)


@pytest.mark.parametrize("text", SPECS)
def test_they_are_counted_as_by_brute_force_in_memory_from_a_cache_and_again(originals, tmp_path, text):
    dataset, spec = opened(originals), InputSpec.parse(text, 1)
    expected = counted(dataset, text)
    assert 0 < expected[0] < COUNT
    for directory in (None, tmp_path, tmp_path):
        assert as_counted(counted_pixels(dataset, spec, directory=directory)[1]) == expected
    some = dataset.subset(range(0, COUNT, 3))
    assert as_counted(FittedImages(some, spec, tmp_path).small) == counted(some, text)


@pytest.mark.parametrize("text", CROPS)
def test_an_image_smaller_than_the_crop_is_enlarged_until_it_covers_it(originals, text):
    """What the word says: of the images that are counted, each is scaled up by the decoder's own placement."""
    dataset, spec = opened(originals), InputSpec.parse(text, 1)
    enlarged = [
        place.scaled[0] > place.native[0] and place.scaled[1] > place.native[1]
        for place in FittedImages(dataset, spec).places
    ]
    small = [height < spec.height or width < spec.width for height, width in sizes_of(dataset)]
    assert all(is_enlarged for is_enlarged, is_small in zip(enlarged, small, strict=True) if is_small)


def test_a_cache_tells_of_them_each_time_without_reading_an_image(originals, tmp_path):
    dataset, spec = opened(originals), InputSpec.parse("crop:9:7", 1)
    number, _ = counted(dataset, "crop:9:7")
    first = FittedImages(dataset, spec, tmp_path)
    with pytest.warns(SmallImagesWarning, match=f"of {COUNT} images, {number} are smaller than the crop"):
        assert first.small.images == number
    unread = replace(dataset, read=lambda row: pytest.fail(f"image {row} was read"))
    again = FittedImages(unread, spec, tmp_path)
    with pytest.warns(SmallImagesWarning, match=f"of {COUNT} images, {number} are smaller than the crop"):
        assert again.small == first.small


def test_of_a_cache_that_was_made_before_it_is_not_known(originals, tmp_path):
    dataset, spec = opened(originals), InputSpec.parse("crop:9:7", 1)
    materialize(dataset, spec, directory=tmp_path)
    path = cache_path(dataset, spec, directory=tmp_path)
    values = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in values.items() if key != "small"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SmallImagesWarning)
        assert FittedImages(dataset, spec, tmp_path).small is None
    path.unlink()
    assert as_counted(FittedImages(dataset, spec, tmp_path).small) == counted(dataset, "crop:9:7")


def test_decoding_that_is_taken_up_again_counts_those_of_before(originals, tmp_path):
    dataset, spec = opened(originals), InputSpec.parse("crop:9:7", 1)

    def failing(row):
        if row == COUNT - 1:
            raise InputError("broken")
        return dataset.read(row)

    with pytest.raises(InputError, match="broken"):
        materialize(replace(dataset, read=failing), spec, directory=tmp_path)
    (journal,) = tmp_path.glob(".*.journal")
    lines = [json.loads(line) for line in journal.read_text().splitlines() if line]
    del lines[0]["small"]  # as an earlier version wrote it
    journal.write_text("".join(f"\n{json.dumps(line)}" for line in lines))
    read = []
    watched = replace(dataset, read=lambda row: read.append(row) or dataset.read(row))
    assert as_counted(FittedImages(watched, spec, tmp_path).small) == counted(dataset, "crop:9:7")
    assert sorted(read) == [*range(BLOCK), *range(2 * BLOCK, COUNT)]  # not the block in between, which was counted


def test_a_file_of_another_size_that_gives_the_same_pixels_is_counted_as_it_is(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    place = tmp_path / "set" / "a" / "1.png"
    Image.new("L", (20, 20), 90).save(place)
    spec = InputSpec.parse("crop:9:7", 1)
    assert FittedImages(opened(tmp_path / "set"), spec, tmp_path / "cache").small == SmallImages()
    Image.new("L", (5, 4), 90).save(place)
    os.utime(place, ns=(0, 0))
    for _ in range(2):
        small = FittedImages(opened(tmp_path / "set"), spec, tmp_path / "cache").small
        assert small == SmallImages(images=1, smallest=(4, 5))


def test_of_shards_it_is_known_for_all_of_a_part_and_else_not(originals, tmp_path):
    pytest.importorskip("fsspec")
    dataset, spec = opened(originals), InputSpec.parse("crop:9:7", 1)
    write_shards({"test": dataset}, tmp_path, spec, shard_size=40)
    part = open_dataset("shards", options={"url": str(tmp_path)})["test"]
    assert as_counted(FittedImages(part, spec).small) == counted(dataset, "crop:9:7")
    assert FittedImages(part.subset(range(10)), spec).small is None


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("preprocess", "large", "small"),
    [
        ("crop:40:32", [(32, 90), (33, 32)], [(90, 31), (15, 40), (9, 8)]),
        ("crop:40x30", [(40, 30), (90, 30)], [(39, 90), (90, 29)]),  # 39 is more than 30, and less than 40
        ("pad:40x32", [(16, 90), (90, 15), (20, 16)], [(19, 15), (9, 8)]),  # a long side makes it smaller, not larger
        ("stretch:64x32", [(32, 16)], [(15, 99), (31, 99), (99, 15)]),
    ],
)
def test_a_warning_counts_those_that_are_far_enlarged_and_no_others(preprocess, large, small, cached, tmp_path):
    shapes = [*large, *small]
    images = [np.zeros(shape, dtype=np.uint8) for shape in shapes]
    names = tuple(map(str, range(len(shapes))))
    card = DatasetCard("tiny", "Tiny", "multiclass", ("a",))
    data = Dataset(card, "test", names, names, np.zeros(len(shapes), dtype=np.int64), images.__getitem__)
    spec, directory = InputSpec.parse(preprocess, channels=1), tmp_path if cached else None
    with pytest.warns(SmallImagesWarning) as warned:
        materialize(data, spec, directory=directory)
    (message,) = [str(one.message) for one in warned]
    assert message.startswith(f"tiny/test: of {len(shapes)} images, {len(small)} ")
    height, width = min(small, key=min)
    assert f"the smallest has {height} × {width}" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        materialize(data.subset(range(len(large))), spec, directory=directory)


@pytest.mark.parametrize(
    ("small", "text", "sentence"),
    [
        (SmallImages(), "crop:7", ""),
        (
            SmallImages(images=1, smallest=(4, 5)),
            "crop:9:7",
            "Of 1,000 images, 1 is smaller than the crop (7 × 7 pixels) and was enlarged for the network: it has 4 × 5 "
            "pixels. It looks blurred to it.",
        ),
        (
            SmallImages(images=12, smallest=(31, 90)),
            "pad:320x256",
            "Of 1,000 images, 12 were enlarged for the network (320 × 256 pixels) to more than twice their height or "
            "width: the smallest has 31 × 90 pixels. They look blurred to it.",
        ),
    ],
)
def test_the_sentence_counts_one_and_several(small, text, sentence):
    assert small.sentence(1000, InputSpec.parse(text, 3)) == sentence
