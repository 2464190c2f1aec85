"""Classifiers on disk, published files under foreign names, and downloads that break off."""

from __future__ import annotations

import hashlib
import math
import re
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import tomli_w
import torch
from safetensors.torch import load_file, save_file

from pellucid.models import create_model, load_model, load_pretrained, read_model_card, save_model, wrap
from pellucid.models.sources.download import cache_folder, fetch
from pellucid.types import InputError, InputSpec


def small(**kwargs):
    made = {"classes": ["normal", "pneumonia"], "task": "multiclass", "size": 64, **kwargs}
    return create_model("small", **made)


# ---------------------------------------------------------------- run folders


def test_a_saved_model_comes_back(tmp_path):
    model = small(widths=[8, 16], blocks=[1, 1], strides=[1, 2], mean=[0.1], std=[0.3], dropout=0.25)
    model(torch.rand(8, 1, 64, 64))  # moves the running statistics
    extra = {
        "label_frequencies": torch.tensor([0.25, math.nan]),
        "thresholds": np.array([0.5, 0.125], dtype=np.float32),
        "recipe": {"name": "standard", "epochs": 4},
    }
    assert save_model(model, tmp_path / "run", extra=extra) == tmp_path / "run"
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["model.toml", "weights.safetensors"]
    images = torch.rand(3, 1, 64, 64)
    expected = model.eval()(images)
    for path in (tmp_path / "run", str(tmp_path / "run"), tmp_path / "run" / "weights.safetensors"):
        loaded = load_model(path)
        assert not loaded.training
        assert torch.equal(loaded(images), expected)
        assert (loaded.task, loaded.classes, loaded.input_spec) == (
            model.task,
            model.classes,
            model.input_spec,
        )
        assert loaded.architecture == model.architecture
        assert torch.equal(loaded.mean, model.mean)
        assert torch.equal(loaded.std, model.std)
    card = read_model_card(tmp_path / "run")
    assert card["label_frequencies"][0] == 0.25
    assert math.isnan(card["label_frequencies"][1])
    assert card["thresholds"] == [0.5, 0.125]
    assert card["recipe"] == {"name": "standard", "epochs": 4}
    # what was loaded can be saved again
    save_model(load_model(tmp_path / "run"), tmp_path / "again")
    assert torch.equal(load_model(tmp_path / "again")(images), expected)


def test_saving_again_replaces(tmp_path):
    save_model(small(), tmp_path)
    second = small()
    save_model(second, tmp_path)
    assert torch.equal(load_model(tmp_path).head.weight, second.head.weight)


def test_weights_of_another_network_name_the_keys(tmp_path):
    save_model(small(), tmp_path / "small")
    save_model(small(widths=[24, 48, 32]), tmp_path / "narrow")
    save_model(create_model("small-wide", classes=["a", "b"], task="multiclass"), tmp_path / "wide")
    target = tmp_path / "small" / "weights.safetensors"
    target.write_bytes((tmp_path / "narrow" / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"another network.*of another shape: .*32 × 48 × 3 × 3 instead of 64 × 48"):
        load_model(tmp_path / "small")
    target.write_bytes((tmp_path / "wide" / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"unexpected: backbone\.stages\.0\.1\..*of another shape"):
        load_model(tmp_path / "small")
    some = load_file(tmp_path / "narrow" / "weights.safetensors")
    del some["head.bias"]
    save_file(some, tmp_path / "narrow" / "weights.safetensors")
    with pytest.raises(InputError, match=r"1 missing: head\.bias\. Give"):
        load_model(tmp_path / "narrow")


def test_weights_and_card_of_two_runs_do_not_mix(tmp_path):
    save_model(small(), tmp_path / "one")
    save_model(small(), tmp_path / "two")
    (tmp_path / "one" / "model.toml").write_bytes((tmp_path / "two" / "model.toml").read_bytes())
    with pytest.raises(InputError, match="SHA-256 differs"):
        load_model(tmp_path / "one")


def test_what_is_not_a_model_is_said(tmp_path):
    with pytest.raises(InputError, match="no model at"):
        load_model(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no model\.toml"):
        load_model(tmp_path)
    (tmp_path / "model.toml").write_text("= 3")
    with pytest.raises(InputError, match="not valid TOML"):
        load_model(tmp_path)
    (tmp_path / "model.toml").write_text("format = 99")
    with pytest.raises(InputError, match="format 99"):
        load_model(tmp_path)
    (tmp_path / "model.toml").write_text("format = 1")
    with pytest.raises(InputError, match=r"the key 'input' is missing"):
        load_model(tmp_path)
    save_model(small(), tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"what is this")
    with pytest.raises(InputError, match="not a readable weights file"):
        load_model(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="no weights file"):
        load_model(tmp_path)


WRONG = [
    ({"thresholds": ["x", 0.5]}, r"thresholds\.0: .*valid number; found 'x'"),
    ({"thresholds": 0.5}, r"thresholds: .*expected a list, .*; found 0.5"),
    ({"thresholds": [0.5]}, r"thresholds needs one number for each of the 2 classes; found 1"),
    ({"thresholds": [0.5, 0.5, 0.5]}, r"thresholds needs one number for each of the 2 classes; found 3"),
    ({"thresholds": [0.5, 1.5]}, r"thresholds\.1: .*probability from 0 to 1.*found 1.5"),
    ({"best_constant": [0.5]}, r"best_constant needs one number"),
    ({"label_frequencies": [True, 0.5]}, r"label_frequencies\.0: .*found True"),
    ({"classes": [0, 1]}, r"classes\.0: .*valid string; found 0"),
    ({"classes": "ab"}, r"classes: .*expected a list, .*; found 'ab'"),
    ({"classes": ["a", "a"]}, r"class names must differ; more than once: a"),
    ({"classes": []}, r"classes: expected at least one name"),
    ({"task": "other"}, r"task: .*'multiclass' or 'multilabel'; found 'other'"),
    ({"architecture": "small"}, r"architecture: .*found 'small'"),
    ({"architecture": {"name": ["small"]}}, r"architecture\.name: .*valid string"),
    ({"architecture": {"name": "small", "options": {"widths": "wide"}}}, r"describes no network: widths"),
    (
        {"architecture": {"name": "small", "options": {"widths": [8, "x", 16]}}},
        r"small cannot be built with widths = .8, 'x', 16",
    ),
    ({"architecture": {"name": "small", "options": {"depth": 3}}}, r"small has no option 'depth'"),
    ({"architecture": {"name": "smal"}}, r"unknown model 'smal'\. Did you mean 'small'"),
    ({"input": {"channels": 1, "size": "64", "mean": [0.5], "std": [0.5]}}, r"input\.height: .*integer; found '64'"),
    (
        {"input": {"channels": 1, "size": 64, "width": 64, "mean": [0.5], "std": [0.5]}},
        r"the key 'input.height' is missing",
    ),
    (
        {"input": {"channels": 1, "size": 64, "geometry": {"fit": "trim"}, "mean": [0.5], "std": [0.5]}},
        r"input\.geometry\.fit: .*'stretch', 'crop', 'cut' or 'pad'; found 'trim'",
    ),
    (
        {
            "input": {
                "channels": 1,
                "size": 64,
                "geometry": {"fit": "crop", "resize": 50, "interpolation": "box", "antialias": True},
                "mean": [0.5],
                "std": [0.5],
            }
        },
        r"an image resized to 50 has no crop of 64 × 64",
    ),
    ({"input": {"channels": 1, "size": 64, "mean": [0.5], "std": [0.0]}}, r"input\.std\.0: .*greater than 0"),
    ({"input": {"channels": 1, "size": 64, "mean": [0.5, 0.5], "std": [0.5]}}, r"mean needs one value per channel"),
    ({"noise": "much"}, r"noise: .*valid number; found 'much'"),
    ({"weights_sha256": 3}, r"weights_sha256: .*valid string; found 3"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
def test_every_field_of_a_card_is_of_its_kind(fields, message, tmp_path):
    save_model(small(), tmp_path, extra={"thresholds": [0.5, 0.5], "of_my_own": {"anything": ["goes", 1]}})
    path = tmp_path / "model.toml"
    card = tomllib.loads(path.read_text())
    assert load_model(tmp_path).classes == tuple(card["classes"])
    path.write_text(tomli_w.dumps(card | fields))
    with pytest.raises(InputError, match=r"model\.toml is damaged .*own digest.* delete its line sha256"):
        load_model(tmp_path)
    path.write_text(tomli_w.dumps({key: value for key, value in (card | fields).items() if key != "sha256"}))
    with pytest.raises(InputError, match=rf"model\.toml.*{message}"):
        load_model(tmp_path)


def test_a_card_that_could_not_be_read_again_is_not_written(tmp_path):
    with pytest.raises(InputError, match="thresholds needs one number for each of the 2 classes; found 3"):
        save_model(small(), tmp_path / "net", extra={"thresholds": [0.1, 0.2, 0.3]})
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.02, 0.05, 0.1, 0.3, 0.7, 0.99])
def test_a_checkpoint_cut_short_is_said(new, share, tmp_path):
    path = tmp_path / "net.pt"
    torch.save(small().state_dict(), path, _use_new_zipfile_serialization=new)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_pretrained(small(), path)


def test_what_cannot_be_saved_is_said(tmp_path):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    wrapped = wrap(net, mean=[0.5], std=[0.5], task="multiclass", classes=["a", "b"], input_spec=InputSpec.square(1, 4))
    with pytest.raises(InputError, match="create_model"):
        save_model(wrapped, tmp_path)
    with pytest.raises(InputError, match="already: classes"):
        save_model(small(), tmp_path, extra={"classes": []})
    with pytest.raises(InputError, match=r"thresholds cannot be written.*NoneType"):
        save_model(small(), tmp_path, extra={"thresholds": None})
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- published files


def published(model, *, generation: int = 2020) -> dict[str, torch.Tensor]:
    """A DenseNet classifier's weights under torchvision's names, those of 2017 if asked."""
    state = {}
    for name, tensor in model.state_dict().items():
        plain = name.removeprefix("backbone.").replace("head.", "classifier.")
        if generation == 2017:
            if plain.endswith("num_batches_tracked"):
                continue
            plain = re.sub(r"(denselayer\d+)\.(norm|conv)([12])\.", r"\1.\2.\3.", plain)
        state[plain] = tensor.clone()
    return state


@pytest.fixture(scope="module")
def densenets():
    kwargs = {"classes": ["a", "b", "c"], "task": "multilabel", "in_channels": 3}
    source, target = create_model("densenet121", **kwargs), create_model("densenet121", **kwargs)
    source.backbone.features.norm0.running_mean.normal_()
    return source, target


@pytest.mark.parametrize("kind", ["2020.pth", "2017.pth", "2020.safetensors", "parallel.pth"])
def test_published_densenets_load_under_their_own_names(kind, densenets, tmp_path):
    source, target = densenets
    torch.nn.init.normal_(target.head.weight)
    state = published(source, generation=2017 if kind.startswith("2017") else 2020)
    if kind.endswith("safetensors"):
        save_file(state, tmp_path / kind)
    elif kind.startswith("parallel"):
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / kind)
    else:
        torch.save(state, tmp_path / kind)
    sha256 = hashlib.sha256((tmp_path / kind).read_bytes()).hexdigest()
    assert load_pretrained(target, tmp_path / kind, sha256=sha256) == ()
    own = target.state_dict()
    assert all(torch.equal(own[k], v) for k, v in source.state_dict().items() if "tracked" not in k)


def test_published_files_that_do_not_fit_name_the_keys(densenets, tmp_path):
    source, target = densenets
    before = target.backbone.features.conv0.weight.clone()
    state = published(source)
    state["features.norm5.bias"] = torch.zeros(7)
    del state["features.conv0.weight"]
    state["features.extra.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(InputError) as caught:
        load_pretrained(target, tmp_path / "bad.pth")
    message = str(caught.value)
    assert "1 missing: backbone.features.conv0.weight" in message
    assert "1 unexpected: backbone.features.extra.weight" in message
    assert "backbone.features.norm5.bias (7 instead of 1024)" in message
    assert torch.equal(target.backbone.features.conv0.weight, before)
    with pytest.raises(InputError, match="damaged or another file"):
        load_pretrained(target, tmp_path / "bad.pth", sha256="0" * 64)


def test_a_head_of_another_size_is_left_with_a_notice(densenets, tmp_path):
    source, _ = densenets
    torch.save(published(source), tmp_path / "three.pth")
    model = create_model("densenet121", classes=["a", "b"], task="multiclass", in_channels=3)
    head = model.head.weight.clone()
    with pytest.warns(UserWarning, match="3 logits from 1024 features"):
        notices = load_pretrained(model, tmp_path / "three.pth")
    assert len(notices) == 1
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.backbone.features.conv0.weight, source.backbone.features.conv0.weight)


class Trap:
    """Pickled, it would run code."""

    def __reduce__(self):
        return (print, ("this must not be printed",))


def test_a_file_with_code_in_it_is_not_opened(densenets, tmp_path, capsys):
    torch.save({"state_dict": {}, "trap": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(InputError, match="could run code"):
        load_pretrained(densenets[1], tmp_path / "trap.pt")
    assert "must not" not in capsys.readouterr().out


# ---------------------------------------------------------------- downloads

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A web server that knows Range: `breaks` says where answers break off, `log` which ranges were asked."""
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            web.log.append(asked)
            if "missing" in self.path:
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and web.ranges else 0
            if start >= len(CONTENT):
                self.send_error(416)
                return
            body = CONTENT[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.end_headers()
            self.wfile.write(body[: web.breaks.pop(0)] if web.breaks else body)

        def log_message(self, *args):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.log, web.breaks, web.ranges = [], [], True
    web.url = f"http://127.0.0.1:{web.server_port}/net.pt"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield web
    web.shutdown()
    web.server_close()
    thread.join()


def test_a_download_is_checked_and_kept(server):
    seen = []
    path = fetch(server.url, sha256=SHA256, progress=lambda have, total: seen.append((have, total)))
    assert path.read_bytes() == CONTENT
    assert path.parent == cache_folder()
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(server.url, sha256=SHA256[:8]) == path
    assert server.log == [None]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_broken_connection_is_resumed(server):
    server.breaks = [100_000, 50_000]
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    assert server.log == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on_where_the_last_one_stopped(server):
    server.breaks = [1000, 1000, 1000, 1000]
    with pytest.raises(InputError, match="ended after 4000 of 300000 bytes"):
        fetch(server.url, sha256=SHA256)
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    assert server.log[-1] == "bytes=4000-"


def test_a_server_without_ranges_starts_over(server):
    server.ranges = False
    server.breaks = [1000]
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT


def test_a_damaged_first_half_is_fetched_again(server):
    part = cache_folder()
    part.mkdir(parents=True)
    name = hashlib.sha256(server.url.encode()).hexdigest()[:8]
    for damaged in (b"x" * 5000, b"x" * 400_000):
        target = part / f"{name}-net.pt"
        target.with_name(target.name + ".part").write_bytes(damaged)
        assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
        target.unlink()


def test_a_wrong_checksum_leaves_nothing_behind(server):
    with pytest.raises(InputError, match=f"SHA-256 is {SHA256}, expected {'0' * 64}"):
        fetch(server.url, sha256="0" * 64)
    assert list(cache_folder().iterdir()) == []
    with pytest.raises(InputError, match="not used unchecked"):
        fetch(server.url)
    with pytest.raises(InputError, match="404"):
        fetch(server.url.replace("net", "missing"), sha256=SHA256)


def test_published_weights_load_from_an_address(server, monkeypatch, tmp_path):
    source, target = small(), small()
    save_file(source.state_dict(), tmp_path / "net.safetensors")
    content = (tmp_path / "net.safetensors").read_bytes()
    monkeypatch.setattr(f"{__name__}.CONTENT", content)
    sha256 = hashlib.sha256(content).hexdigest()
    load_pretrained(target, server.url.replace("net.pt", "net.safetensors"), sha256=sha256)
    assert torch.equal(target.head.weight, source.head.weight)
    by_name = server.url.replace("net.pt", f"net-{sha256[:8]}.safetensors")
    again = small(pretrained=by_name)
    assert torch.equal(again.head.weight, source.head.weight)


# ---------------------------------------------------------------- checkpoints of others


def lightning(state):
    return {"epoch": 3, "state_dict": {f"model.{name}": tensor for name, tensor in state.items()}}


CHECKPOINTS = [
    ("plain", lambda state: state, None),
    ("lightning", lightning, "those under 'state_dict'; 'model.' before every name"),
    ("compiled", lambda s: {f"_orig_mod.{k}": v for k, v in s.items()}, "'_orig_mod.' before every name"),
    ("parallel", lambda s: {f"module.{k}": v for k, v in s.items()}, "'module.' before every name"),
    ("both", lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()}, "'module._orig_mod.' before every name"),
    ("tutorial", lambda s: {"epoch": 1, "model_state_dict": s, "loss": 0.5}, "those under 'model_state_dict'"),
    ("deep", lambda s: {"model": {"state_dict": {f"net.{k}": v for k, v in s.items()}}}, "under 'model → state_dict'"),
]


@pytest.mark.parametrize(("name", "pack", "said"), CHECKPOINTS)
def test_checkpoints_are_unpacked_and_it_is_said(name, pack, said, tmp_path, recwarn):
    model = small()
    torch.save(pack(model.state_dict()), tmp_path / f"{name}.pt")
    other = small()
    load_pretrained(other, tmp_path / f"{name}.pt")
    images = torch.rand(2, 1, 64, 64)
    assert torch.equal(other.eval()(images), model.eval()(images))
    told = [str(w.message) for w in recwarn if w.category is UserWarning]
    assert len(told) == (0 if said is None else 1)
    if said is not None:
        assert f"{name}.pt: " in told[0]
        assert said in told[0]


def test_a_head_for_other_classes_is_said_for_training_and_refused_for_judging(tmp_path):
    five = small(classes=list("abcde"))
    torch.save(five.state_dict(), tmp_path / "five.pt")
    with pytest.warns(UserWarning, match=r"the head of five\.pt gives 5 logits.*was left as it is"):
        small(pretrained=tmp_path / "five.pt")
    body = {name: tensor for name, tensor in five.state_dict().items() if not name.startswith("head.")}
    torch.save(body, tmp_path / "body.pt")
    with pytest.warns(UserWarning, match=r"body\.pt holds no head.*its own was left as it is"):
        small(pretrained=tmp_path / "body.pt")
    save_model(small(), tmp_path)
    for name in ("five.pt", "body.pt"):  # beside the card of a network of two classes
        with pytest.raises(InputError, match=r"the weights of another network.*head\.weight"):
            load_model(tmp_path / name)
