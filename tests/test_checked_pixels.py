"""A damaged block of a cache is noticed whichever way its images are first used; the others are as good as ever."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pellucid.data.cache.manifest import BLOCK
from pellucid.data.cache.pixels import materialize
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.data.decoding.checked_pixels import CheckedPixels
from pellucid.types import InputError, InputSpec
from pellucid.utils.digests import DamageError

IMAGES = 2 * BLOCK + 44


@pytest.fixture
def images():
    shades = np.random.default_rng(0).integers(0, 256, (IMAGES, 8, 8), dtype=np.uint8)
    card = DatasetCard("shades", "Shades", "multiclass", ("a", "b"))
    names = tuple(map(str, range(IMAGES)))
    return Dataset(card, "train", names, names, np.arange(IMAGES) % 2, shades.__getitem__)


@pytest.fixture
def cache(images, tmp_path):
    """A cache of three blocks, and its pixels in memory."""
    materialize(images, InputSpec.square(1, 8), directory=tmp_path)
    (file,) = tmp_path.glob("*.npy")
    return file, np.load(file)


def damage(file, image, content=None):
    with file.open("r+b") as stream:
        stream.seek(-64 * (IMAGES - image), 2)
        if content is None:
            (old,) = stream.read(1)
            stream.seek(-1, 1)
            content = bytes([old ^ 1])
        stream.write(content)


def opened(images, folder):
    pixels = materialize(images, InputSpec.square(1, 8), directory=folder)
    assert isinstance(pixels, CheckedPixels)
    return pixels


INDICES = [
    0,
    -1,
    np.int64(5),
    slice(3, 9),
    slice(None, None, -1),
    slice(5, 5),
    [1, 299, 200],
    np.array([130, 130, 0]),
    np.arange(IMAGES) % 7 == 0,
    (4, 0),
    (slice(100, 200), 0, 1),
    (..., 0),
    None,
    (np.array([0, 250]), slice(None), 2),
    (3, 0, 1, 2),
]


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_it_gives_what_an_array_gives(images, cache, tmp_path, index):
    pixels, memory = opened(images, tmp_path), cache[1]
    np.testing.assert_array_equal(pixels[index], memory[index])
    np.testing.assert_array_equal(pixels[index], memory[index])  # checked by now


def test_what_else_an_array_can_do(images, cache, tmp_path):
    pixels, memory = opened(images, tmp_path), cache[1]
    same = ("shape", "dtype", "ndim", "size", "nbytes")
    assert [getattr(pixels, name) for name in same] == [getattr(memory, name) for name in same]
    assert len(pixels) == IMAGES
    assert np.array_equal(np.stack(list(pixels)), memory)
    assert (pixels == memory).all()
    assert np.array_equal(pixels + 1, memory + 1)
    assert (pixels.sum(), pixels.reshape(-1)[9]) == (memory.sum(), memory.reshape(-1)[9])
    assert np.asarray(pixels, dtype=np.float32).dtype == np.float32
    for index in (IMAGES, -IMAGES - 1):
        with pytest.raises(IndexError):
            pixels[index]


@pytest.mark.parametrize("kind", ["flip", "zeros"])
@pytest.mark.parametrize("image", [0, BLOCK - 1, BLOCK, IMAGES - 1])
def test_a_damaged_block_is_named_when_it_is_first_used_and_no_other_suffers(images, cache, tmp_path, image, kind):
    file, memory = cache
    damage(file, image, None if kind == "flip" else b"\0" * 64)
    pixels = opened(images, tmp_path)
    number = image // BLOCK
    for row in range(IMAGES):
        if row // BLOCK == number:
            continue
        np.testing.assert_array_equal(pixels[row], memory[row])
    first, last = number * BLOCK, min(number * BLOCK + BLOCK, IMAGES) - 1
    neighbour = first if image != first else first + 1
    for use in (
        lambda: pixels[neighbour],
        lambda: pixels[image],
        lambda: pixels[[5, neighbour]],
        lambda: pixels[:],
        lambda: np.asarray(pixels),
        lambda: pixels == memory,
        lambda: list(pixels),
        lambda: pixels + 1,
        lambda: pixels.mean(axis=0),
    ):
        with pytest.raises(DamageError, match=rf"{file.name} is damaged .*images {first} to {last} .*\.json"):
            use()


def test_every_block_is_read_for_its_check_once(images, cache, tmp_path, monkeypatch):
    pixels, hashed = opened(images, tmp_path), []
    real = hashlib.sha256

    def counted(content=b"", **options):
        hashed.append(len(content))
        return real(content, **options)

    monkeypatch.setattr("pellucid.data.decoding.checked_pixels.hashlib.sha256", counted)
    pixels[3]
    assert hashed == [BLOCK * 64]
    for _ in range(2):
        for row in np.random.default_rng(0).permutation(IMAGES):
            pixels[row]
    np.asarray(pixels)
    assert sorted(hashed) == [44 * 64, BLOCK * 64, BLOCK * 64]


@pytest.mark.slow
def test_training_on_a_damaged_cache_is_refused_by_name(tmp_path):
    from helpers.training import run, small_phantom

    parts = small_phantom()
    materialize(parts["train"], InputSpec.square(1, 32), directory=tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.npy")
    content = bytearray(file.read_bytes())
    content[-100] ^= 4
    file.write_bytes(content)
    with pytest.raises(InputError, match=file.name):
        run(parts, tmp_path / "run", "model.channels=1", cache=tmp_path / "cache")
