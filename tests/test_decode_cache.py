"""Images in memory and in the cache: the same ones in order, what a failure leaves behind, and how far the work is."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pellucid.data import materialize, open_dataset
from pellucid.data.cache.pixels import cache_key, cache_path
from pellucid.data.decoding.checked_pixels import CheckedPixels
from pellucid.data.decoding.fitting import fit
from pellucid.types import InputError, InputSpec
from pellucid.utils.parallel import in_threads


@pytest.fixture
def images(tmp_path):
    """300 images of different sizes: more than the work that is handed out at a time."""
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for i in range(300):
        pixels = rng.integers(0, 256, tuple(rng.integers(3, 12, 2)), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / "ab"[i % 2] / f"{i:03d}.png")
    return tmp_path / "set"


def opened(folder):
    return open_dataset("folder", folder, options={"test_fraction": 1})["test"]


def test_memory_and_cache_hold_the_same_in_order(images, tmp_path):
    dataset = opened(images)
    memory = materialize(dataset, InputSpec.square(3, 7))
    cached = materialize(dataset, InputSpec.square(3, 7), directory=tmp_path / "cache" / "deep")
    assert memory.shape == (300, 3, 7, 7)
    for i in (0, 1, 127, 128, 129, 299):
        np.testing.assert_array_equal(memory[i], fit(dataset.read(i), InputSpec.square(3, 7)))
    np.testing.assert_array_equal(memory, cached)
    assert isinstance(cached, CheckedPixels)
    assert not cached.flags.writeable
    assert type(cached[3]) is np.ndarray


def test_the_second_time_nothing_is_decoded(images, tmp_path, monkeypatch):
    first = materialize(opened(images), InputSpec.square(1, 5), directory=tmp_path / "cache")
    monkeypatch.setattr("pellucid.data.readers.folder.read_image", lambda path: pytest.fail(f"decoded {path}"))
    np.testing.assert_array_equal(
        first, materialize(opened(images), InputSpec.square(1, 5), directory=tmp_path / "cache")
    )
    files = sorted(p.suffix for p in (tmp_path / "cache").iterdir())
    assert files == [".json", ".npy"]
    manifest = json.loads(next((tmp_path / "cache").glob("*.json")).read_text())
    assert manifest["fingerprint"] == opened(images).fingerprint
    assert (manifest["images"], manifest["channels"], manifest["preprocess"]) == (300, 1, "stretch:5:bilinear")


def test_the_key_follows_files_size_and_channels(images):
    before = cache_key(opened(images), InputSpec.square(1, 5))
    assert before == cache_key(opened(images), InputSpec.square(1, 5))
    assert (
        len(
            {
                before,
                cache_key(opened(images), InputSpec.square(1, 6)),
                cache_key(opened(images), InputSpec.square(3, 5)),
            }
        )
        == 3
    )
    some = opened(images).files[3].path
    os.utime(some, ns=(0, 0))  # another time, the same bytes: the fingerprint stays
    assert cache_key(opened(images), InputSpec.square(1, 5)) == before


def test_a_broken_cache_file_is_made_again(images, tmp_path):
    dataset = opened(images)
    whole = np.array(materialize(dataset, InputSpec.square(1, 5), directory=tmp_path))
    path = cache_path(dataset, InputSpec.square(1, 5), directory=tmp_path).with_suffix(".npy")
    path.write_bytes(path.read_bytes()[:500])
    np.testing.assert_array_equal(materialize(dataset, InputSpec.square(1, 5), directory=tmp_path), whole)


def test_too_little_disk_is_said_before_anything_is_decoded(images, tmp_path, monkeypatch):
    dataset = opened(images)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 5000, 5000))
    monkeypatch.setattr("pellucid.data.readers.folder.read_image", lambda path: pytest.fail(f"decoded {path}"))
    with pytest.raises(InputError, match=r"needs 1\.23 MB but only 0\.01 MB are free"):
        materialize(dataset, InputSpec.square(1, 64), directory=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_disk_that_fills_up_leaves_nothing_behind(images, tmp_path):
    """A real failure of write(): the process may not write files of more than 4,000 bytes."""
    resource = pytest.importorskip("resource")
    dataset = opened(images)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(InputError, match=r"no space left while writing 0\.08 MB.*Nothing was kept"):
            materialize(dataset, InputSpec.square(1, 16), directory=tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "cache").iterdir())
    assert materialize(dataset, InputSpec.square(1, 16), directory=tmp_path / "cache").shape[0] == 300


@pytest.mark.parametrize("trouble", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_no_half_written_cache_after_a_failure(images, tmp_path, monkeypatch, trouble):
    dataset = opened(images)

    def fail(_):
        raise trouble

    monkeypatch.setattr(os, "fsync", fail)
    interrupted = isinstance(trouble, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt if interrupted else InputError):
        materialize(dataset, InputSpec.square(1, 5), directory=tmp_path / "cache")
    left = list((tmp_path / "cache").iterdir())
    assert all(file.name.startswith(".") for file in left)
    assert bool(left) == interrupted  # to go on from; a full disk is cleared


@pytest.mark.parametrize("cached", [False, True])
def test_unreadable_images_are_named_all_at_once(images, tmp_path, cached):
    bad = [opened(images).files[row].path for row in (3, 200, 299)]
    whole = [path.read_bytes() for path in bad]
    for path, content in zip(bad, whole, strict=True):
        path.write_bytes(content[:40])
    directory = tmp_path / "cache" if cached else None
    with pytest.raises(InputError, match="3 images cannot be used") as caught:
        materialize(opened(images), InputSpec.square(1, 5), directory=directory)
    assert all(str(path) in str(caught.value) for path in bad)
    for path, content in zip(bad[1:], whole[1:], strict=True):
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{re.escape(str(bad[0]))}: not an image"):
        materialize(opened(images), InputSpec.square(1, 5), directory=directory)
    bad[0].write_bytes(whole[0])
    assert len(materialize(opened(images), InputSpec.square(1, 5), directory=directory)) == 300


def test_of_very_many_unreadable_images_twenty_are_named(images):
    for file in opened(images).files[10:]:
        file.path.write_bytes(b"")
    with pytest.raises(InputError, match="20 or more images cannot be used") as caught:
        materialize(opened(images), InputSpec.square(1, 5))
    assert str(caught.value).count(": the file is empty") == 20


def test_a_cache_directory_that_is_a_file_is_said(images, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError, match="cache cannot be written"):
        materialize(opened(images), InputSpec.square(1, 5), directory=tmp_path / "cache")


@pytest.mark.parametrize(
    ("size", "channels", "message"),
    [
        (0, 1, "found 0"),
        (-3, 1, "found -3"),
        (2.5, 1, "found 2.5"),
        (True, 1, "found True"),
        (8, 2, "found 2"),
    ],
)
def test_impossible_sizes_are_refused_first(images, tmp_path, size, channels, message):
    with pytest.raises(InputError, match=message):
        materialize(opened(images), InputSpec.square(channels, size), directory=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    with pytest.raises(InputError, match="no images"):
        materialize(opened(images).subset([]), InputSpec.square(1, 8))


def test_progress_counts_every_image(images, capfd):
    seen = []
    materialize(opened(images), InputSpec.square(1, 4), progress=lambda done, count: seen.append((done, count)))
    assert seen == [(i + 1, 300) for i in range(300)]
    materialize(opened(images), InputSpec.square(1, 4), progress=True)
    assert capfd.readouterr().err == ""  # short work shows no bar


def test_a_bar_appears_when_work_takes_long(monkeypatch, capfd):
    monkeypatch.setenv("PELLUCID_PROGRESS", "1")
    ticks = iter(range(10_000))
    monkeypatch.setattr("pellucid.utils.progress.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    assert list(in_threads(lambda i: i * i, 300, title="squares", progress=True)) == [i * i for i in range(300)]
    shown = capfd.readouterr().err
    assert "squares" in shown
    assert "300/300" in shown
    assert "img/s" in shown


def test_an_exception_gives_up_what_has_not_begun():
    begun = []
    gate = threading.Event()

    def work(i):
        begun.append(i)
        if i == 0:
            raise InputError("broken")
        gate.wait(0.05)

    with pytest.raises(InputError, match="broken"):
        list(in_threads(work, 1000, title="work", workers=2))
    assert len(begun) < 50
