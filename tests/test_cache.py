"""The cache between processes and over time: kills, several at once, changed sources, hashes, 16 bits."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.forked import Forked
from pellucid.data import materialize, open_dataset
from pellucid.data.cache.manifest import BLOCK, parse_manifest, verify_cache
from pellucid.data.cache.pixels import cache_path
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.data.decoding.fitting import fit
from pellucid.training.batches import Batches
from pellucid.types import InputError, InputSpec

COUNT = 3 * BLOCK + 16

SLOWLY = r"""
import os, sys, time
from dataclasses import replace
from pellucid.data import materialize, open_dataset
from pellucid.types import InputSpec

root, out, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
dataset = open_dataset("folder", root, options={"test_fraction": 1})["test"]

def read(i):
    os.write(1, f"{i}\n".encode())  # whole lines, from two threads
    time.sleep(seconds)
    return dataset.read(i)

pixels = materialize(replace(dataset, read=read), InputSpec.square(1, 6), directory=out, workers=2)
print("sum", int(pixels.sum()), flush=True)
"""


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    rng = np.random.default_rng(1)
    for i in range(COUNT):
        place = folder / "ab"[i % 2] / f"{i:03d}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, tuple(rng.integers(5, 12, 2)), dtype=np.uint8)).save(place)
    return folder


@pytest.fixture
def images(originals, tmp_path):
    """A copy that a test may change."""
    for place in originals.glob("*/*.png"):
        copy = tmp_path / "set" / place.relative_to(originals)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(place.read_bytes())
    return tmp_path / "set"


def opened(folder):
    return open_dataset("folder", folder, options={"test_fraction": 1})["test"]


def start(folder, out, seconds):
    return Forked(folder, out, seconds, code=SLOWLY)


def decoded_by(lines):
    return [int(line) for line in lines if line.strip().isdecimal()]


@pytest.mark.slow
def test_after_a_kill_the_next_call_goes_on_where_it_stopped(originals, tmp_path):
    expected = materialize(opened(originals), InputSpec.square(1, 6))
    process = start(originals, tmp_path, 0.004)
    for line in process.stdout:
        if line.strip() == str(2 * BLOCK + 100):  # in the third block
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait(30) == -signal.SIGKILL
    process.stdout.close()
    process.stderr.close()
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    second = start(originals, tmp_path, 0)
    output, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    again = decoded_by(output.splitlines())
    assert 0 < len(again) <= COUNT - BLOCK
    assert min(again) >= BLOCK  # at least the first block was not decoded again
    cached = materialize(opened(originals), InputSpec.square(1, 6), directory=tmp_path)
    np.testing.assert_array_equal(cached, expected)
    assert f"sum {int(expected.sum())}" in output
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]


def test_what_was_damaged_before_going_on_is_decoded_again(images, tmp_path):
    """A journal that tells of a block that is not what was written, and ends in half a line."""
    bad = opened(images).files[COUNT - 1].path
    whole = bad.read_bytes()
    bad.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        materialize(opened(images), InputSpec.square(1, 6), directory=tmp_path / "cache")
    (part,) = (tmp_path / "cache").glob(".*.part")
    (journal,) = (tmp_path / "cache").glob(".*.journal")
    content = bytearray(part.read_bytes())
    content[200] ^= 1  # in the first block
    part.write_bytes(content)
    journal.write_bytes(journal.read_bytes() + b'\n{"block": 1, "sha')
    bad.write_bytes(whole)
    read = []
    dataset = opened(images)
    watched = replace(dataset, read=lambda i: read.append(i) or dataset.read(i))
    cached = materialize(watched, InputSpec.square(1, 6), directory=tmp_path / "cache")
    np.testing.assert_array_equal(cached, materialize(dataset, InputSpec.square(1, 6)))
    assert sorted(read) == [*range(BLOCK), *range(3 * BLOCK, COUNT)]  # the damaged block and the one with the bad file


@pytest.mark.slow
def test_two_processes_that_decode_at_once_make_one_cache(originals, tmp_path):
    processes = [start(originals, tmp_path, 0.002) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sum(len(decoded_by(output.splitlines())) for output, _ in outputs) == COUNT  # each image once
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]
    expected = materialize(opened(originals), InputSpec.square(1, 6))
    assert all(f"sum {int(expected.sum())}" in output for output, _ in outputs)


def test_a_changed_image_is_refused_by_name_and_a_touched_one_is_not(images, tmp_path):
    cache = tmp_path / "cache"
    before = np.array(materialize(opened(images), InputSpec.square(1, 6), directory=cache))
    files = opened(images).files
    os.utime(files[5].path, ns=(0, 0))
    np.testing.assert_array_equal(materialize(opened(images), InputSpec.square(1, 6), directory=cache), before)
    read = []
    dataset = opened(images)
    materialize(replace(dataset, read=read.append), InputSpec.square(1, 6), directory=cache)
    assert not read  # that it was touched is noted: it is not compared a second time
    for row in (7, 300):
        Image.fromarray(np.full((9, 9), 7, np.uint8)).save(files[row].path)
    with pytest.raises(InputError, match=r"changed since the cache .* delete the cache's \.json") as caught:
        materialize(opened(images), InputSpec.square(1, 6), directory=cache)
    assert [str(file.path) in str(caught.value) for file in files] == [row in (7, 300) for row in range(COUNT)]
    next(cache.glob("*.json")).unlink()
    after = materialize(opened(images), InputSpec.square(1, 6), directory=cache)
    assert [row for row in range(COUNT) if not np.array_equal(after[row], before[row])] == [7, 300]


def test_other_images_and_other_folders_have_other_caches_but_other_labels_have_not(images, tmp_path):
    whole = opened(images)

    def path(dataset):
        return cache_path(dataset, InputSpec.square(1, 6), directory=tmp_path)

    one = open_dataset("folder", images, options={"test_fraction": 1, "positive": "b"})["test"]
    assert path(one) == path(whole)
    assert path(whole.subset(range(5))) != path(whole)
    (tmp_path / "moved").symlink_to(images)
    assert path(opened(tmp_path / "moved")) != path(whole)


def test_verify_reads_every_byte(originals, tmp_path):
    materialize(opened(originals), InputSpec.square(1, 6), directory=tmp_path)
    (path,) = tmp_path.glob("*.json")
    manifest = verify_cache(path)
    pixels = path.with_name(manifest.files[0].name)
    content = bytearray(pixels.read_bytes())
    block = bytes(content[-36 * 16 :])  # the last block has 16 images of 6 × 6
    assert manifest.files[0].sha256[-1] == hashlib.sha256(block).hexdigest()
    np.testing.assert_array_equal(np.load(pixels), materialize(opened(originals), InputSpec.square(1, 6)))
    for place in (20, len(content) // 2, len(content) - 1):
        changed = content.copy()
        changed[place] ^= 4
        pixels.write_bytes(changed)
        with pytest.raises(InputError, match=f"not what was written: {pixels.name}"):
            verify_cache(path)
    pixels.unlink()
    with pytest.raises(InputError, match="not what was written"):
        verify_cache(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: "{", "not a manifest"),
        (lambda values: [], "not a manifest"),
        (lambda values: values | {"format": 1}, "another version"),
        (lambda values: values | {"images": 5}, "do not agree"),
        (lambda values: values | {"channels": 2}, "channels"),
        (lambda values: values | {"files": [values["files"][0] | {"name": "../x.npy"}]}, "beside it"),
        (lambda values: values | {"files": [values["files"][0] | {"sha256": []}]}, "do not agree"),
    ],
)
def test_a_manifest_that_is_none_is_refused(originals, tmp_path, change, message):
    materialize(opened(originals), InputSpec.square(1, 6), directory=tmp_path)
    (path,) = tmp_path.glob("*.json")
    changed = change(json.loads(path.read_text()))
    with pytest.raises(InputError, match=message):
        parse_manifest(changed if isinstance(changed, str) else json.dumps(changed), str(path))


CARD = DatasetCard("deep", "Deep", "multiclass", ("a",))


def deep(bits=16):
    """Four images, of which one has 8 bits."""
    rng = np.random.default_rng(2)
    pictures = [rng.integers(0, 65536, (9, 7), dtype=np.uint16) for _ in range(4)]
    pictures[2] = (pictures[2] >> 8).astype(np.uint8)
    names = ("1", "2", "3", "4")
    dataset = Dataset(CARD, "train", names, names, np.zeros(4, np.int64), pictures.__getitem__, bits=bits)
    return dataset, pictures


def test_16_bits_stay_through_cache_and_batch(tmp_path):
    dataset, pictures = deep()
    wide = [p if p.dtype == np.uint16 else p.astype(np.uint16) * 257 for p in pictures]
    memory = materialize(dataset, InputSpec.square(1, 6))
    cached = materialize(dataset, InputSpec.square(1, 6), directory=tmp_path)
    assert memory.dtype == cached.dtype == np.uint16
    np.testing.assert_array_equal(memory, cached)
    np.testing.assert_array_equal(cached, [fit(image, InputSpec.square(1, 6)) for image in wide])
    batches = Batches(cached, dataset.targets, 4, torch.device("cpu"))
    (batch,) = batches.epoch(0, seed=0)
    expected = cached[batch.indices.numpy()] / 65535
    np.testing.assert_allclose(batch.images.numpy(), expected, atol=1e-7)
    narrow, _ = deep(bits=8)
    eight = materialize(narrow, InputSpec.square(1, 6))
    assert eight.dtype == np.uint8
    assert np.abs(eight / 255 - memory / 65535).max() <= 1.5 / 255  # three roundings
    assert narrow.fingerprint != dataset.fingerprint


@pytest.mark.slow
def test_a_kill_while_another_waits_hands_over(originals, tmp_path):
    first = start(originals, tmp_path, 0.01)
    first.stdout.readline()
    second = start(originals, tmp_path, 0)
    time.sleep(0.2)
    first.kill()
    first.communicate()
    output, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert "sum" in output
