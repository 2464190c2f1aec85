"""Files that are not the published networks: no pickle is run, and each gets one clear error with its path."""

from __future__ import annotations

import io
import os
import pickle
import re
import sys
import zipfile

import pytest
import torch

from pellucid.cli.app import main
from pellucid.models.sources.woods2019 import CLASSES, FOREIGN_NAME, read_woods2019
from pellucid.types import InputError

MODULE, NAME = FOREIGN_NAME.rsplit(".", 1)


@pytest.fixture(scope="module")
def published(real_data):
    return real_data / "weights" / "resnet44-all.pt"


@pytest.fixture(scope="module")
def content(published):
    """What the file holds, read by Python's own unpickler with the author's function defined."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys.modules[MODULE], NAME, lambda *_: None, raising=False)
        return torch.load(published, map_location="cpu", weights_only=False)


class _Runs:
    """Pickles as the name of a function, or as a call of it where there are arguments."""

    def __init__(self, module, name, *arguments):
        self.module, self.name, self.arguments = module, name, arguments


class _Pickler(pickle._Pickler):
    """Python's own pickler in Python, which does not look up the functions that it names."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Runs):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())  # GLOBAL
            if obj.arguments:
                self.save(obj.arguments)
                self.write(b"R")  # REDUCE: call it
            return None
        return super().save(obj, save_persistent_id)


def pickled(value) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def checkpoint(value, form: str) -> bytes:
    """A file such as torch.save writes: the old form of five pickles, or the archive of today."""
    if form == "legacy":
        buffer = io.BytesIO()
        torch.save({}, buffer, _use_new_zipfile_serialization=False)
        start = io.BytesIO(buffer.getvalue())
        head = []
        for _ in range(3):  # magic number, protocol, system
            begin = start.tell()
            pickle.load(start)
            head.append(buffer.getvalue()[begin : start.tell()])
        return b"".join(head) + pickled(value) + pickle.dumps([], protocol=2)
    buffer = io.BytesIO()
    torch.save({}, buffer)
    changed = io.BytesIO()
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, pickled(value) if entry.filename.endswith("data.pkl") else old.read(entry))
    return changed.getvalue()


@pytest.mark.parametrize("form", ["legacy", "zip"])
def test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing(form, tmp_path, monkeypatch, capsys):
    path, trace = tmp_path / "net.pt", tmp_path / "trace"
    path.write_bytes(checkpoint({"model_params": _Runs("os", "system", f"touch {trace}")}, form))
    torch.load(path, weights_only=False)  # it does run where it is let: the test could fail
    assert trace.exists()
    trace.unlink()
    arguments = ["pellucid", "models", "import", "woods2019", str(path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    message, output = str(ended.value.code), capsys.readouterr().out
    assert "names os.system" in message
    assert "could run code" in message
    assert not trace.exists()
    assert not (tmp_path / "out").exists()
    assert "wrote" not in output


@pytest.mark.parametrize("form", ["legacy", "zip"])
@pytest.mark.parametrize(
    ("module", "name"), [("builtins", "eval"), ("subprocess", "Popen"), ("torch.hub", "load"), (MODULE, "another_name")]
)
def test_any_other_name_is_refused_even_uncalled(form, module, name, tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(checkpoint({"model_params": _Runs(module, name)}, form))
    with pytest.raises(InputError, match=rf"names ({re.escape(module)}\.)?{name}, "):
        read_woods2019(path)


@pytest.mark.parametrize("form", ["legacy", "zip"])
def test_the_one_foreign_name_may_be_named_but_not_called(form, tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    monkeypatch.setattr(sys.modules["__main__"], NAME, lambda *_: trace.write_text("ran"), raising=False)
    path = tmp_path / "net.pt"
    path.write_bytes(checkpoint({"a": _Runs(MODULE, NAME, 1)}, form))
    torch.load(path, weights_only=False)
    assert trace.exists()
    trace.unlink()
    with pytest.raises(InputError, match="could run code of the file"):
        read_woods2019(path)
    path.write_bytes(checkpoint({"a": _Runs(MODULE, NAME)}, form))
    with pytest.raises(InputError, match="is not a network of"):  # opened, and something else
        read_woods2019(path)
    assert not trace.exists()


def test_the_allowed_name_is_allowed_here_only(published, tmp_path):
    read_woods2019(published)
    with pytest.raises(pickle.UnpicklingError, match=NAME):
        torch.load(published, map_location="cpu", weights_only=True)
    path = tmp_path / "net.pt"
    path.write_bytes(checkpoint({"a": _Runs("os", "getcwd")}, "zip"))
    with pytest.raises(InputError):
        read_woods2019(path)
    assert FOREIGN_NAME not in str(torch.serialization.get_safe_globals())


@pytest.mark.parametrize("garbage", [b"", b"what is this", b"\x80\x02", os.urandom(5000), b"PK\x03\x04" + bytes(100)])
def test_garbage(garbage, tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(garbage)
    with pytest.raises(InputError, match=re.escape(str(path))):
        read_woods2019(path)


@pytest.mark.parametrize("length", [10, 30, 200, 5000, 50_000, 1_000_000, -1])
def test_a_published_file_cut_short(length, published, tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(published.read_bytes()[:length])
    with pytest.raises(InputError, match=re.escape(str(path))):
        read_woods2019(path)


def test_no_file_says_where_there_are_some(tmp_path):
    for path in (tmp_path / "gone.pt", tmp_path):
        with pytest.raises(InputError, match=r"no file at .*adversarial-explanations-cifar"):
            read_woods2019(path)


def altered(content, **changes):
    """A copy of a published file's content with other tensors or training options."""
    state = dict(content["model_params"])
    options = {**content["training_options"], "arch": [32, None, [7, 7, 7], [16, 32, 64], 10]}
    for name, value in changes.items():
        if name in ("arch", "robust_integration"):
            options[name] = value
        elif value is None:
            del state[name.replace("__", ".")]
        else:
            state[name.replace("__", ".")] = value
    return {"model_params": state, "training_options": options}


OTHERS = {
    "ten classes": ({"arch": [32, None, [7, 7, 7], [16, 32, 64], 100]}, "100 classes apart"),
    "other widths": ({"arch": [32, None, [7, 7, 7], [16, 32, 128], 10]}, "another network.* of another shape"),
    "fewer blocks": ({"arch": [32, None, [7, 7, 6], [16, 32, 64], 10]}, "another network.* unexpected"),
    "more stages": ({"arch": [32, None, [7, 7, 7, 7], [16, 32, 64, 128], 10]}, "widths"),
    "no stages": ({"arch": [32, None, None, [16, 32, 64], 10]}, "is not a network of"),
    "no arch": ({"arch": 32}, "is not a network of"),
    "a tensor missing": ({"pipe__2__3__main__0__weight": None}, r"1 missing: backbone\.stages\.1\.3\.conv1\.weight"),
    "a tensor more": ({"pipe__2__3__extra": torch.ones(3)}, r"1 unexpected: pipe\.2\.3\.extra"),
    "no normalisation": ({"input_offset": None}, "input_offset"),
    "another delta": ({"pipe__1__0__pre__1__d": torch.tensor(0.25)}, "another delta than 0.5"),
    "no tensor": ({"pipe__0__weight": [1.0]}, "its tensors are not those of a network"),
    "no number": ({"robust_integration": "much"}, "is not a network of"),
}


@pytest.mark.parametrize(("changes", "said"), OTHERS.values(), ids=list(OTHERS))
def test_another_network(changes, said, content, tmp_path):
    path = tmp_path / "net.pt"
    torch.save(altered(content, **changes), path)
    with pytest.raises(InputError, match=said) as caught:
        read_woods2019(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", [3, [1, 2], {}, {"a": torch.ones(2)}, {"model_params": 3, "training_options": []}])
def test_plain_values_of_another_kind(value, tmp_path):
    path = tmp_path / "net.pt"
    torch.save(value, path)
    with pytest.raises(InputError, match="is not a network of"):
        read_woods2019(path)


def test_a_file_saved_anew_by_a_recent_torch_is_read_too(content, published, tmp_path):
    path = tmp_path / "net.pt"
    torch.save(altered(content), path)
    (again, _), (model, _) = read_woods2019(path), read_woods2019(published)
    assert again.classes == CLASSES
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
