"""Fetching datasets from a server that breaks off, refuses, lies and packs bombs; and what is said offline."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from helpers.archive import files_in, tar
from pellucid.data import open_dataset
from pellucid.data.download.fetch import RECORDS, fetch_dataset
from pellucid.data.download.release import Release, ReleaseFile
from pellucid.data.registry import DATASETS
from pellucid.types import InputError
from pellucid.utils.download import check_digest, digest_of, download

NOISE = np.random.default_rng(0).bytes(300_000)


def md5(data):
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """A web server of `files`. `breaks` says after how many bytes answers end, `log` what was asked for."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("PELLUCID_PROGRESS", "0")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.strip("/")
            asked = self.headers.get("Range")
            web.log.append((name, asked))
            if web.refusals:
                self.send_error(web.refusals.pop(0))
                return
            if name not in web.files:
                self.send_error(404)
                return
            content = web.files[name]
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and web.ranges else 0
            if start >= len(content):
                self.send_response(416)
                if web.says_size:
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            start += web.shift if start else 0
            self.send_response(206 if start else 200)
            if web.says_size:
                self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            self.wfile.write(content[start:][: web.breaks.pop(0)] if web.breaks else content[start:])

        def log_message(self, *args):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.files, web.log, web.breaks, web.refusals = {}, [], [], []
    web.ranges, web.says_size, web.shift = True, True, 0
    web.url = f"http://127.0.0.1:{web.server_port}"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield web
    web.shutdown()
    web.server_close()
    thread.join()


@pytest.fixture
def publish(server, monkeypatch):
    """Let `cifar10` be published as files of this server: name → (content, further fields of its ReleaseFile)."""

    def publish(files, **release):
        server.files = {name: content for name, (content, _) in files.items()}
        published = tuple(
            ReleaseFile(f"{server.url}/{name}", name, len(content), **fields)
            for name, (content, fields) in files.items()
        )
        entry = replace(DATASETS["cifar10"], release=Release(published, **release))
        monkeypatch.setitem(DATASETS, "cifar10", entry)

    return publish


def cifar():
    """The official archive in small: one record per file."""
    rng = np.random.default_rng(0)
    names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    records = {f"cifar-10-batches-bin/{n}.bin": bytes([k]) + rng.bytes(3072) for k, n in enumerate(names)}
    folder = tarfile.TarInfo("cifar-10-batches-bin")
    folder.type = tarfile.DIRTYPE
    return tar({"cifar-10-batches-bin": folder, **records})


# ---------------------------------------------------------------- a dataset from one end to the other


def test_a_dataset_is_fetched_unpacked_recorded_and_left_alone_after(server, publish, pellucid, tmp_path):
    archive = cifar()
    publish({"c.tar.gz": (archive, {"md5": md5(archive)})})
    status, output, _ = pellucid("data", "fetch", "cifar10", "--root", tmp_path / "new/c")
    assert status == 0
    assert output == f"c.tar.gz: fetched: 6 files (MD5 as published {md5(archive)})\n"
    root = tmp_path / "new/c"
    assert len(open_dataset("cifar10", root)["test"]) == 1
    names = [f"cifar-10-batches-bin/{n}.bin" for n in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")]
    assert files_in(root) == sorted([f"{RECORDS}/c.tar.gz.json", *names])  # the archive is gone
    record = json.loads((root / RECORDS / "c.tar.gz.json").read_text())
    assert record["contents"] == dict.fromkeys(names, 3073)
    assert record["checksum"] == {"algorithm": "md5", "digest": md5(archive), "published": True}
    assert server.log == [("c.tar.gz", None)]
    status, output, _ = pellucid("data", "fetch", "cifar10", "--root", root)
    assert (status, output) == (0, f"c.tar.gz: there already (MD5 as published {md5(archive)})\n")
    assert len(server.log) == 1
    (root / names[2]).unlink()  # what is missing is fetched again
    assert fetch_dataset("cifar10", root, keep=True)[0].was_there is False
    assert "c.tar.gz" in files_in(root)
    (root / names[2]).write_bytes(b"short")  # from the archive that was kept; a file of another size is not overwritten
    with pytest.raises(InputError, match=r"data_batch_3\.bin: in the way of .* of 3,073 bytes\. Move it away"):
        fetch_dataset("cifar10", root)
    (root / names[2]).unlink()
    assert fetch_dataset("cifar10", root)[0].was_there is False
    assert len(server.log) == 2


def test_where_no_checksum_is_published_the_computed_one_is_recorded(server, publish, pellucid, tmp_path):
    publish({"a.npz": (NOISE, {"unpack": False}), "b.npz": (NOISE[::-1], {"unpack": False, "optional": True})})
    status, output, _ = pellucid("data", "fetch", "cifar10", "--root", tmp_path)
    sha256 = hashlib.sha256(NOISE).hexdigest()
    where = tmp_path / RECORDS
    assert status == 0
    assert (
        output == f"a.npz: fetched: 1 file (no checksum is published; its SHA-256 is {sha256}, recorded in {where})\n"
    )
    assert json.loads((where / "a.npz.json").read_text())["checksum"]["digest"] == sha256
    assert [one.name for one in fetch_dataset("cifar10", tmp_path, files=["b.npz"])] == ["b.npz"]
    assert (tmp_path / "b.npz").read_bytes() == NOISE[::-1]
    with pytest.raises(InputError, match=r"cifar10 has no file 'c\.npz'\. .*There are: a\.npz, b\.npz"):
        fetch_dataset("cifar10", tmp_path, files=["c.npz"])
    (where / "a.npz.json").write_text(
        '{"checksum": 3}'
    )  # a record of another make is no record: what is there is taken
    assert fetch_dataset("cifar10", tmp_path)[0].digest == sha256
    assert len(server.log) == 2


def test_a_file_fetched_by_other_means_is_taken_if_it_is_the_right_one(server, publish, tmp_path):
    archive = cifar()
    publish({"c.tar.gz": (archive, {"md5": md5(archive)})})
    (tmp_path / "c.tar.gz").write_bytes(archive[:-1])
    with pytest.raises(InputError, match=rf"c\.tar\.gz: .*its MD5 is {md5(archive[:-1])}, .*Take it away"):
        fetch_dataset("cifar10", tmp_path)
    (tmp_path / "c.tar.gz").write_bytes(archive)
    fetch_dataset("cifar10", tmp_path)
    assert server.log == []
    assert len(open_dataset("cifar10", tmp_path)["test"]) == 1


def test_a_copy_from_elsewhere_is_not_fetched_again(server, publish, pellucid, tmp_path):
    archive = cifar()
    publish({"c.tar.gz": (archive, {"md5": md5(archive)})})
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(tmp_path, filter="data")
    status, output, _ = pellucid("data", "fetch", "cifar10", "--root", tmp_path)
    assert status == 0
    assert "is in" in output
    assert server.log == []
    (tmp_path / "cifar-10-batches-bin/test_batch.bin").unlink()  # not whole
    fetch_dataset("cifar10", tmp_path)
    assert len(server.log) == 1


def test_what_must_be_fetched_by_hand_is_said_before_and_after(server, publish, tmp_path, pellucid):
    publish(
        {"a.npz": (NOISE, {"unpack": False})}, by_hand=("labels*.csv", "**/b.txt"), instructions="Ask at example.org."
    )
    expected = "labels*.csv, b.txt. Ask at example.org. Terms: not stated; its page asks for the citation."
    with pytest.warns(UserWarning, match="to be fetched by hand"), pytest.raises(InputError) as caught:
        fetch_dataset("cifar10", tmp_path)
    assert str(caught.value).startswith("the files at fixed addresses are there. cifar10: to be fetched by hand into")
    assert str(caught.value).endswith(expected)
    (tmp_path / "labels_2.csv").touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/b.txt").touch()
    assert [one.was_there for one in fetch_dataset("cifar10", tmp_path)] == [True]
    told, _, _ = pellucid("data", "fetch", "imagenet", "--root", tmp_path)
    assert re.search(r"train, val\. Register at https://www\.image-net\.org/, accept its terms.*Terms: non-comm", told)
    for name in ("phantom", "folder"):
        with pytest.raises(InputError, match="nothing is published under this name"):
            fetch_dataset(name, tmp_path)


def test_the_archives_of_chestxray14_and_its_tables_make_a_dataset(server, monkeypatch, tmp_path):
    png = io.BytesIO()
    Image.new("L", (9, 9), 70).save(png, "PNG")
    entry = DATASETS["chestxray14"]
    published = []
    for k, file in enumerate(entry.release.files):
        server.files[file.name] = tar({f"images/{k:08}_000.png": png.getvalue()})
        md5_here = md5(server.files[file.name])
        published.append(replace(file, url=f"{server.url}/{file.name}", size=None, md5=md5_here))
    monkeypatch.setitem(DATASETS, "chestxray14", replace(entry, release=replace(entry.release, files=tuple(published))))
    with pytest.warns(UserWarning, match=r"train_val_list\.txt"), pytest.raises(InputError, match="ChestXray-NIHCC"):
        fetch_dataset("chestxray14", tmp_path)
    names = [f"{k:08}_000.png" for k in range(12)]
    rows = "".join(f"{name},No Finding,{int(name[:8])}\n" for name in names)
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(f"Image Index,Finding Labels,Patient ID\n{rows}")
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:8]))
    (tmp_path / "test_list.txt").write_text("\n".join(names[8:]))
    (tmp_path / "BBox_List_2017.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
    assert all(one.was_there for one in fetch_dataset("chestxray14", tmp_path))
    assert len(server.log) == 12
    assert sum(map(len, open_dataset("chestxray14", tmp_path).values())) == 12
    (tmp_path / "images" / names[4]).unlink()
    assert [one.was_there for one in fetch_dataset("chestxray14", tmp_path)] == [k != 4 for k in range(12)]
    assert server.log[12:] == [("images_005.tar.gz", None)]


def test_too_little_space_is_said_first(server, publish, monkeypatch, tmp_path):
    publish({"c.tar.gz": (cifar(), {})})
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"0\.0 GB are needed and 0\.0 GB are free"):
        fetch_dataset("cifar10", tmp_path / "c")
    assert server.log == []
    assert not (tmp_path / "c").exists()


def test_every_release_can_be_listed_and_its_checksums_are_ones():
    names = [name for name, entry in DATASETS.items() if entry.release is not None]
    assert {"chestxray14", "cifar10", "imagenet", "medmnist", "kermany2018"} <= set(names)
    for name in names:
        release = DATASETS[name].release
        assert release.summary()
        assert release.files or release.by_hand
        assert bool(release.by_hand) == bool(release.instructions)
        assert len({file.name for file in release.files}) == len({file.url for file in release.files})
        for file in release.files:
            assert file.url.startswith(("https://", "http://images.cocodataset.org/"))
            assert re.fullmatch(r"([0-9a-f]{32})?", file.md5)
    archives = DATASETS["chestxray14"].release.files
    assert [file.name for file in archives] == [f"images_{k:03}.tar.gz" for k in range(1, 13)]
    assert len({file.md5 for file in archives}) == 12


# ---------------------------------------------------------------- the download


def test_cut_connections_are_gone_on_with_also_by_a_later_call(server, publish, tmp_path):
    publish({"a.npz": (NOISE, {"md5": md5(NOISE), "unpack": False})})
    server.breaks = [1000] * 4
    with pytest.raises(InputError, match=r"ended after 4000 of 300000 bytes.*put it at .*a\.npz, and call this again"):
        fetch_dataset("cifar10", tmp_path)
    assert files_in(tmp_path) == ["a.npz.part"]
    server.breaks = [100_000]
    fetch_dataset("cifar10", tmp_path)
    assert [asked for _, asked in server.log[4:]] == ["bytes=4000-", "bytes=104000-"]
    assert (tmp_path / "a.npz").read_bytes() == NOISE


def test_wrong_bytes_leave_nothing_behind(server, publish, tmp_path):
    publish({"a.npz": (NOISE, {"md5": md5(b"other"), "unpack": False})})
    with pytest.raises(InputError, match=rf"its MD5 is {md5(NOISE)}, expected {md5(b'other')}"):
        fetch_dataset("cifar10", tmp_path)
    assert files_in(tmp_path) == []


def grab(server, tmp_path, content=NOISE):
    server.files["f"] = content
    target = tmp_path / "f"
    download(f"{server.url}/f", target, lambda path: check_digest(path, md5(content), "md5"))
    assert target.read_bytes() == content
    assert not (tmp_path / "f.part").exists()
    target.unlink()


def test_what_an_older_file_left_is_thrown_away(server, tmp_path):
    for left in (b"x" * 5000, b"x" * len(NOISE), b"x" * 400_000):  # the last two answer 416
        for says_size in (True, False):
            server.says_size = says_size
            (tmp_path / "f.part").write_bytes(left)
            grab(server, tmp_path)
    (tmp_path / "f.part").write_bytes(NOISE)  # whole already
    grab(server, tmp_path)


def test_servers_without_ranges_with_other_ranges_and_without_sizes(server, tmp_path):
    server.ranges = False
    server.breaks = [1000]
    grab(server, tmp_path)
    server.ranges, server.shift = True, 7  # answers 206 with another part than was asked for
    server.breaks = [1000]
    grab(server, tmp_path)
    server.shift, server.says_size = 0, False
    grab(server, tmp_path)


def test_refusals(server, monkeypatch, tmp_path):
    waited = []
    monkeypatch.setattr("pellucid.utils.download.time.sleep", waited.append)
    server.refusals = [503, 429]
    grab(server, tmp_path)
    server.refusals = [500] * 9
    with pytest.raises(InputError, match=r"could not download .*500"):
        grab(server, tmp_path)
    assert len(server.refusals) == 5
    assert waited[2:] == sorted(waited[2:])  # longer each time
    server.refusals, server.log = [], []
    for address, match in ((f"{server.url}/none", "404"), ("http://127.0.0.1:1/x", "refused"), ("file:///x", "https:")):
        with pytest.raises(InputError, match=match):
            download(address, tmp_path / "x", lambda _: None)
    assert server.log == [("none", None)]  # asking again would not help
    with pytest.raises(InputError, match="8 to 32 hexadecimal"):
        check_digest(tmp_path, "xyz", "md5")


def test_a_full_disk_is_said_at_once(server, monkeypatch, tmp_path):
    server.files["f"] = NOISE
    path_open = type(tmp_path).open

    def full(self, *arguments, **keywords):
        if self.name == "f.part":
            raise OSError(28, "No space left on device")
        return path_open(self, *arguments, **keywords)

    monkeypatch.setattr(type(tmp_path), "open", full)
    with pytest.raises(InputError, match=r"f\.part: the disk is full"):
        grab(server, tmp_path)
    assert len(server.log) == 1


def test_checksums_are_those_of_hashlib(tmp_path):
    (tmp_path / "x").write_bytes(NOISE * 7)
    assert digest_of(tmp_path / "x") == hashlib.sha256(NOISE * 7).hexdigest()
    assert digest_of(tmp_path / "x", "md5") == md5(NOISE * 7)
