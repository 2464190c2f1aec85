"""Shards: written, read over HTTP from a local server, streamed in one order by any number of processes, trained on."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from helpers.forked import run_together
from helpers.launch import run_command
from helpers.training import SMALL, run, small_phantom
from pellucid.data import materialize, open_dataset
from pellucid.data.cache.manifest import verify_cache
from pellucid.data.cache.shards import LANES, part_manifests, write_shards
from pellucid.evaluation.training_images import ImageCheck
from pellucid.models import load_model
from pellucid.models.inference import predict
from pellucid.models.weights import read_training_record
from pellucid.training import RunFolder
from pellucid.training.batches import Batches
from pellucid.training.streamed import StreamedBatches
from pellucid.types import InputError, InputSpec

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
CPU = torch.device("cpu")


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; `asked` counts requests per file, and `failing` says how often one is answered with 503."""

    asked: dict[str, int] = {}  # noqa: RUF012 (shared by all requests)
    failing: dict[str, int] = {}  # noqa: RUF012

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        self.asked[name] = self.asked.get(name, 0) + 1
        if self.failing.get(name, 0) > 0:
            self.failing[name] -= 1
            self.send_error(503)
            return
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path):
    """A folder and the address that it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    Handler.asked.clear()
    Handler.failing.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The small phantom in shards: 64 training images in 24 files of 2 or 3."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(small_phantom(), folder, InputSpec.square(1, 32), shard_size=3)
    return folder


@pytest.fixture
def url(served, written):
    folder, address = served
    shutil.copytree(written, folder / "deep")
    return f"{address}/deep"


def opened(url):
    return open_dataset("shards", options={"url": url})


@pytest.mark.slow
def test_what_is_read_is_what_was_written(phantom, url):
    splits = opened(url)
    assert list(splits) == list(phantom)
    for name, original in phantom.items():
        part = splits[name]
        assert (part.ids, part.patients, part.classes, part.task) == (
            original.ids,
            original.patients,
            original.classes,
            original.task,
        )
        np.testing.assert_array_equal(part.targets, original.targets)
        expected = materialize(original, InputSpec.square(1, 32))
        np.testing.assert_array_equal(materialize(part, InputSpec.square(1, 32)), expected)
        np.testing.assert_array_equal(part.read(len(part) - 1), expected[-1, 0])
    sizes = [file.images for file in splits["train"].shards.manifest.files]
    assert len(sizes) % LANES == 0
    assert set(sizes) == {2, 3}
    assert sum(sizes) == 64
    again = opened(f"{url}/shards.json")["train"]
    assert again.fingerprint == splits["train"].fingerprint


def test_reading_in_order_fetches_every_shard_once(url):
    part = opened(url)["train"]
    materialize(part, InputSpec.square(1, 32), workers=1)
    names = [file.name for file in part.shards.manifest.files]
    assert [Handler.asked[name] for name in names] == [1] * len(names)


def joint(shards, targets, world, epoch, start=0):
    """The joint batches of an epoch: the rows of all processes together, and their pixels by row."""
    parts = [StreamedBatches(shards, targets, 16, CPU, rank, world) for rank in range(world)]
    steps, pixels = [], {}
    for batches in zip(*(part.epoch(epoch, seed=5, start=start) for part in parts), strict=True):
        assert {len(batch.indices) for batch in batches} == {16 // world}
        steps.append({int(i) for batch in batches for i in batch.indices})
        for batch in batches:
            pixels |= dict(zip(batch.indices.tolist(), batch.images, strict=True))
    return steps, pixels


@pytest.mark.slow
def test_the_order_is_the_same_for_any_number_of_processes_and_each_reads_its_own_shards(phantom, url):
    part = opened(url)["train"]
    alone, pixels = joint(part.shards, part.targets, 1, epoch=0)
    assert len(alone) == 3  # 24 shards give two images each
    assert all(len(step) == 16 for step in alone)
    assert len(set().union(*alone)) == 48  # none twice
    expected = materialize(phantom["train"], InputSpec.square(1, 32))
    for row, image in pixels.items():
        np.testing.assert_array_equal(image.numpy(), expected[row].astype(np.float32) / 255)
    for world in (2, 4, 8):
        assert joint(part.shards, part.targets, world, epoch=0)[0] == alone
    assert joint(part.shards, part.targets, 1, epoch=0)[0] == alone
    assert joint(part.shards, part.targets, 2, epoch=0, start=1)[0] == alone[1:]  # as after resuming
    assert joint(part.shards, part.targets, 1, epoch=1)[0] != alone
    assert len(alone[0] & set(range(16))) < 12  # shuffled over shards
    fetched = [fetched_by(part, rank) for rank in range(4)]
    assert [len(names) for names in fetched] == [6] * 4
    assert len(set().union(*fetched)) == 24  # no shard is read by two


def fetched_by(part, rank):
    Handler.asked.clear()
    list(StreamedBatches(part.shards, part.targets, 16, CPU, rank, 4).epoch(0, seed=5))
    return {name for name in Handler.asked if name.endswith(".npy")}


@pytest.mark.slow
def test_every_image_has_its_turn_over_the_epochs(url):
    part = opened(url)["train"]
    seen = set()
    for epoch in range(12):
        seen |= set().union(*joint(part.shards, part.targets, 1, epoch)[0])
    assert seen == set(range(64))


@pytest.mark.slow
def test_a_network_learns_from_a_url_and_is_judged_as_ever(url, phantom, tmp_path):
    splits = opened(url)
    made = run(splits, tmp_path / "streamed", "training.epochs=2", name="standard", seed=1)
    assert [row["step"] for row in made.metrics()] == [3, 6]
    network = load_model(made.path)
    pixels = materialize(phantom["validation"], InputSpec.square(1, 32))
    expected = roc_auc_score(phantom["validation"].targets, predict(network, pixels), average="macro")
    assert max(row["validation_auroc"] for row in made.metrics()) == pytest.approx(expected, abs=1e-6)
    assert RunFolder(tmp_path / "streamed").read()["data"]["train"]["fingerprint"] == splits["train"].fingerprint
    check = ImageCheck(made.path, refuse=True)  # the same images, drawn and not fetched
    with pytest.raises(InputError, match="was trained on 64 of the 64 images of phantom/train"):
        check.check_pixels(
            replace(phantom["train"], stable_ids=()), materialize(phantom["train"], InputSpec.square(1, 32))
        )
    with pytest.raises(InputError, match="was trained on 64 of the 64 images of phantom/train"):
        check.check_ids(phantom["train"])
    kept = run(splits, tmp_path / "kept", "training.epochs=1", name="standard", cache=tmp_path / "cache")
    assert kept.metrics()[0]["step"] == 4  # all 64 images: from a local cache
    with pytest.raises(
        InputError, match=r"hold images of 32 × 32 pixels .* asks for 48 × 48 and 1\. Set model\.size=32"
    ):
        run(splits, tmp_path / "other", "model.size=48", name="standard")


@pytest.fixture
def bucket(monkeypatch):
    """The address of an empty S3 bucket, on a local server that speaks its protocol."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}
    for name, value in (settings | {"DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("hospital")
    yield "s3://hospital"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.slow
def test_shards_in_s3_are_read_streamed_and_refused_as_elsewhere(bucket, written, phantom):
    import s3fs

    store = s3fs.S3FileSystem()
    store.put(str(written), f"{bucket}/deep", recursive=True)
    splits = opened(f"{bucket}/deep")
    for name, original in phantom.items():
        pixels = materialize(splits[name], InputSpec.square(1, 32))
        np.testing.assert_array_equal(pixels, materialize(original, InputSpec.square(1, 32)))
    part = splits["train"]
    steps, pixels = joint(part.shards, part.targets, 2, epoch=0)
    assert [len(step) for step in steps] == [16] * 3
    expected = materialize(phantom["train"], InputSpec.square(1, 32))
    for row, image in pixels.items():
        np.testing.assert_array_equal(image.numpy(), expected[row].astype(np.float32) / 255)
    name = part.shards.manifest.files[3].name
    store.rm(f"{bucket}/deep/{name}")
    with pytest.raises(InputError, match=name):
        materialize(opened(f"{bucket}/deep")["train"], InputSpec.square(1, 32))
    with pytest.raises(InputError, match=r"shards\.json"):
        opened(f"{bucket}/nothing")


@pytest.mark.slow
def test_two_real_processes_learn_what_one_does_and_each_fetches_its_own_shards(url, tmp_path):
    settings = [*SMALL, "training.epochs=2", "training.batch_size=16", "training.freeze_batch_norm=true"]
    words = ["train", "standard", "--data", "shards", "--data-option", f"url={url}", "--device", "cpu"]
    words += [part for setting in settings for part in ("--set", setting)]

    def train(name, start):
        start(*words, "--out", tmp_path / name)
        return RunFolder(tmp_path / name), load_file(tmp_path / name / "last" / "weights.safetensors")

    one, weights = train("one", run_command)
    Handler.asked.clear()
    two, theirs = train("two", run_together)
    assert (one.read()["processes"], two.read()["processes"]) == (1, 2)
    names = [file.name for file in opened(url)["train"].shards.manifest.files]
    assert [Handler.asked[name] for name in names] == [2] * len(names)  # once an epoch, by one of the two
    records = [read_training_record(made.path) for made in (one, two)]  # all images, in either
    assert [len(record.trained) for record in records] == [len(opened(url)["train"])] * 2
    assert [record.file for record in records] == [records[0].file] * 2
    for name, tensor in weights.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    assert two.metrics()[-1]["loss"] == pytest.approx(one.metrics()[-1]["loss"], rel=1e-5)
    assert one.metrics()[-1]["loss"] != pytest.approx(one.metrics()[0]["loss"], rel=1e-3)


@pytest.mark.slow
def test_the_command_writes_trains_and_evaluates(served, tmp_path, pellucid):
    folder, address = served
    options = [f"--data-option={o}" for o in ("size=32", "train=32", "validation=16", "test=16", "prevalence=0.4")]
    status, output, _ = pellucid(
        "data", "cache", "phantom", *options, "--size", 32, "--out", folder, "--shard-size", 2, "--verify"
    )
    assert status == 0
    assert "every byte is what was written" in output
    shards = ["--data", "shards", "--data-option", f"url={address}"]
    chosen = [x for text in SMALL for x in ("--set", text)]
    status, _, errors = pellucid(
        "train",
        "standard",
        *shards,
        *chosen,
        "--set",
        "training.epochs=1",
        "--out",
        tmp_path / "run",
        "--device",
        "cpu",
    )
    assert status == 0, errors
    status, output, errors = pellucid(
        "evaluate", tmp_path / "run", *shards, "--out", tmp_path / "scores", "--device", "cpu"
    )
    assert status == 0, errors
    assert "16 images of phantom/test" in output


@pytest.mark.slow
def test_writing_again_does_nothing_and_after_a_loss_it_mends(phantom, tmp_path):
    index = write_shards(phantom, tmp_path, InputSpec.square(1, 8), shard_size=4)
    (train, *_) = part_manifests(index)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    write_shards(phantom, tmp_path, InputSpec.square(1, 8), shard_size=4)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")} == before
    lost = sorted(tmp_path.glob("*train*.npy"))[3]
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(InputError, match="not what was written"):
        verify_cache(train)
    write_shards(phantom, tmp_path, InputSpec.square(1, 8), shard_size=4)
    assert lost.read_bytes() == content
    verify_cache(train)


def test_a_changed_shard_is_refused_by_name(served, url):
    part = opened(url)["train"]
    place = served[0] / "deep" / part.shards.manifest.files[2].name
    content = bytearray(place.read_bytes())
    for change in (content[:-5], content + b"x", b"", content[:200] + bytes([content[200] ^ 1]) + content[201:]):
        place.write_bytes(bytes(change))
        with pytest.raises(InputError, match=f"{place.name}: not what was written, .*{part.shards.name}"):
            list(StreamedBatches(part.shards, part.targets, 16, CPU).epoch(0, seed=0))
    place.unlink()
    with pytest.raises(InputError, match=f"{place.name}: there is no such file, which {part.shards.name} names"):
        list(StreamedBatches(part.shards, part.targets, 16, CPU).epoch(0, seed=0))


def test_a_server_that_stumbles_is_asked_again(url, monkeypatch):
    waited = []
    monkeypatch.setattr("pellucid.data.cache.shard_store.time.sleep", waited.append)
    part = opened(url)["train"]
    name = part.shards.manifest.files[0].name
    Handler.failing[name] = 3
    assert len(part.shards.fetch(0)) == part.shards.manifest.files[0].images
    assert waited == [1, 2, 4]
    Handler.failing[name] = 4
    with pytest.raises(InputError, match=f"{name}: cannot be read after 4 attempts"):
        part.shards.fetch(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"hello", "not an index of shards"),
        (b"[]", "format"),
        (json.dumps({"format": 2, "card": {}, "parts": {}}).encode(), "in format 3, .* Write the shards anew"),
        (json.dumps({"format": 3, "card": {"nose": 1}, "parts": {}}).encode(), "not an index of shards"),
        (json.dumps({"format": 3, "card": {}, "parts": {"train": {}}}).encode(), "manifest"),
    ],
)
def test_what_is_no_folder_of_shards_is_refused(served, content, message):
    folder, address = served
    if content is not None:
        (folder / "shards.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        opened(address)


def test_wrong_options_are_refused(tmp_path, phantom):
    with pytest.raises(InputError, match="url"):
        open_dataset("shards")
    with pytest.raises(InputError, match="nowhere://x"):
        opened("nowhere://x")
    with pytest.raises(InputError, match="at least one image"):
        write_shards(phantom, tmp_path, InputSpec.square(1, 8), shard_size=0)
    few = {"train": phantom["train"].subset(range(5))}
    write_shards(few, tmp_path, InputSpec.square(1, 8), shard_size=4)
    part = opened(str(tmp_path))["train"]
    with pytest.raises(InputError, match="takes shards 8 at a time; found 5"):
        StreamedBatches(part.shards, part.targets, 4, CPU)
    labels = next(tmp_path.glob("*.npz"))
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{labels.name}: not what was written"):
        opened(str(tmp_path))


def test_three_processes_cannot_share(url):
    part = opened(url)["train"]
    with pytest.raises(InputError, match="1, 2, 4 or 8 processes"):
        StreamedBatches(part.shards, part.targets, 12, CPU, 0, 3)
    with pytest.raises(InputError, match="batch of 6 cannot be split over 4"):
        StreamedBatches(part.shards, part.targets, 6, CPU, 0, 4)


def test_the_order_of_a_cached_epoch_does_not_depend_on_threads_or_processes(phantom, tmp_path):
    """Threads decode, but the order is of seed and epoch alone."""
    orders = []
    for workers in (1, 2, 7):
        images = materialize(
            phantom["train"], InputSpec.square(1, 8), workers=workers, directory=tmp_path / str(workers)
        )
        targets = phantom["train"].targets
        for world in (1, 2, 4):
            parts = [Batches(images, targets, 16, CPU, rank, world) for rank in range(world)]
            steps = zip(*(part.epoch(3, seed=9) for part in parts), strict=True)
            orders.append([torch.cat([b.indices for b in step]).tolist() for step in steps])
        pixels = torch.cat([batch.images for batch in Batches(images, targets, 16, CPU).epoch(3, seed=9)])
        assert torch.equal(pixels, torch.from_numpy(images[np.concatenate(orders[-1])] / np.float32(255)))
    assert all(order == orders[0] for order in orders)


@pytest.mark.slow
@pytest.mark.parametrize(
    "url", ["ftp://", "zip::", "github://", "zip://", "s3://", "::", "reference::", "filecache::", "dir::x", "http://["]
)
def test_a_url_that_is_not_whole_is_refused(url):
    with pytest.raises(InputError) as refused:
        opened(url)
    assert url.rstrip("/") in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ids": None}, "no array ids"),
        ({"ids": np.zeros(10_000_000, "U1")}, r"ids\.npy: expected .* found <U1 \(10000000,\)"),
        ({"patients": np.array(["x" * 5000] * 40)}, r"patients\.npy: expected"),
        ({"targets": np.zeros((40, 10_000))}, r"targets\.npy: expected"),
        ({"targets": np.array([object()] * 40)}, "pickled objects"),
        ({"content": None}, "no array content"),
        ({"content": np.zeros((40, 99), np.uint8)}, r"content\.npy: expected"),
    ],
)
def test_labels_of_another_shape_than_the_images_are_refused(written, tmp_path, change, said):
    shutil.copytree(written, tmp_path / "copy")
    index = json.loads((tmp_path / "copy" / "shards.json").read_text())
    part = index["parts"]["test"]
    count = json.loads((tmp_path / "copy" / part["manifest"]).read_text())["images"]
    names = np.array([f"{i}" for i in range(count)])
    arrays = {"ids": names, "patients": names, "targets": np.zeros((count, 1), np.float32)}
    arrays |= {"stable_ids": names, "content": np.zeros((count, 16), np.uint8), **change}
    labels = tmp_path / "copy" / part["labels"]
    np.savez_compressed(labels, **{name: array for name, array in arrays.items() if array is not None})
    part["sha256"] = hashlib.sha256(labels.read_bytes()).hexdigest()
    (tmp_path / "copy" / "shards.json").write_text(json.dumps({**index, "parts": {"test": part}}))
    with pytest.raises(InputError, match=said):
        opened(str(tmp_path / "copy"))


def test_shards_of_other_rules_of_decoding_are_read_with_a_word(written, tmp_path):
    shutil.copytree(written, tmp_path / "copy")
    for path in part_manifests(tmp_path / "copy" / "shards.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"decode_version": 1}))
    with pytest.warns(UserWarning, match=r"by the rules of another version of Pellucid \(number 1, now"):
        opened(str(tmp_path / "copy"))
