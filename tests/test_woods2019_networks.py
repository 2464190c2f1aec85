"""The published CIFAR-10 networks: as a transcription of the paper's code computes them, and as they are imported."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F

from pellucid.cli.app import main
from pellucid.data import materialize, open_dataset
from pellucid.models import load_model, read_model_card, save_model
from pellucid.models.inference import as_pixels
from pellucid.models.sources.importing import FORMATS, import_published
from pellucid.models.sources.woods2019 import FOREIGN_NAME, read_woods2019
from pellucid.types import InputError, InputSpec
from pellucid.utils.download import digest_of

MODULE, NAME = FOREIGN_NAME.rsplit(".", 1)


@pytest.fixture(scope="module")
def weights(real_data):
    folder = real_data / "weights"
    return {name: folder / f"resnet44-{name}.pt" for name in ("standard", "all")}


@pytest.fixture(scope="module")
def lossless(real_data):
    """The 512 lossless test images of CIFAR-10, float32 (512, 3, 32, 32), and their labels."""
    test = open_dataset("cifar10", real_data)["test"]
    return as_pixels(materialize(test, InputSpec.square(3, 32))), torch.from_numpy(test.targets)


@pytest.fixture(scope="module")
def authors_files(weights):
    """What the files hold, read by Python's own unpickler with the author's function defined."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys.modules[MODULE], NAME, lambda *_: None, raising=False)
        return {k: torch.load(v, map_location="cpu", weights_only=False) for k, v in weights.items()}


# ---------------------------------------------------------------- the network


def transcribed(state: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The paper's ResNet-44 by the author's own names, from its description and nothing of this library.

    3 × 3 stem; three stages of seven blocks, stride 1, 2, 2; `pre = act(BN(x))`, `main = conv(act(BN(conv(pre))))`,
    shortcut identity or a 3 × 3 convolution of `pre`; BN, act, mean over 8 × 8, 1 × 1 convolution.
    """

    def norm(name, x):
        p = [state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *p)

    def act(name, x):
        if f"{name}.d" not in state:
            return torch.clamp(x, min=0)
        delta = float(state[f"{name}.d"])
        return torch.where(x <= 0, torch.zeros_like(x), torch.where(x <= delta, x * x / (2 * delta), x - delta / 2))

    mean, std = state["input_offset"].view(2, 1, 3, 1, 1)
    x = F.conv2d((images - mean) / std, state["pipe.0.weight"], padding=1)
    for stage, stride in ((1, 1), (2, 2), (3, 2)):
        for index in range(7):
            name, step = f"pipe.{stage}.{index}", stride if index == 0 else 1
            pre = act(f"{name}.pre.1", norm(f"{name}.pre.0", x))
            main = F.conv2d(pre, state[f"{name}.main.0.weight"], stride=step, padding=1)
            main = act(f"{name}.main.2", norm(f"{name}.main.1", main))
            main = F.conv2d(main, state[f"{name}.main.3.weight"], padding=1)
            foreign = f"{name}.shortcut.weight"
            x = main + (F.conv2d(pre, state[foreign], stride=step, padding=1) if foreign in state else x)
    x = F.avg_pool2d(act("pipe.5", norm("pipe.4", x)), 8)
    return F.conv2d(x, state["pipe.7.weight"], state["pipe.7.bias"]).flatten(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["standard", "all"])
def test_logits_are_those_of_a_transcription_of_the_authors_code(name, weights, authors_files, lossless):
    state = authors_files[name]["model_params"]
    assert sum(k.endswith(".d") for k in state) == (0 if name == "standard" else 2 * 21 + 1)
    assert sum(k.endswith("shortcut.weight") for k in state) == 2
    model, _ = read_woods2019(weights[name])
    images = lossless[0][:24].double()
    with torch.no_grad():
        expected = transcribed({k: v.double() for k, v in state.items()}, images)
        found = model.double()(images)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # normalisation is kept in float32
    assert expected.std() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "low", "high"), [("standard", 0.925, 1.0), ("all", 0.65, 0.71)])
def test_accuracy_is_as_published(name, low, high, weights, lossless):
    """Published on all 10,000 test images: 0.9384 and 0.679."""
    images, labels = lossless
    model, _ = read_woods2019(weights[name])
    assert not model.training
    with torch.no_grad():
        right = torch.cat([model(part).argmax(1) for part in images.split(128)]) == labels
    assert low <= float(right.float().mean()) <= high


def test_training_options_are_read(weights):
    model, options = read_woods2019(weights["all"])
    assert {k: options[k] for k in ("robust_additions", "adversarial_training", "l2_min")} == dict.fromkeys(
        ("robust_additions", "adversarial_training", "l2_min"), True
    )
    assert round(options["psi"], -1) == 14240  # "Final Psi" of the author's README
    assert model.architecture.options["activation"] == "half-huber"
    model, options = read_woods2019(weights["standard"])
    assert not any(options.values())
    assert "psi" not in options
    assert model.architecture.options["activation"] == "relu"
    assert model.mean.flatten().tolist() == torch.tensor([0.4914, 0.4822, 0.4465]).tolist()


# ---------------------------------------------------------------- import


@pytest.fixture
def pellucid(monkeypatch, capsys):
    """Run the command: its status or message, and what it printed."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr().out

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", ["standard", "all"])
def test_an_imported_network_is_the_published_one(name, weights, lossless, tmp_path, pellucid):
    code, output = pellucid("models", "import", "woods2019", weights[name], "--out", tmp_path / "net")
    assert code == 0
    for text in ("resnet44", weights[name].name, "MIT", "cifar10", "horse", str(tmp_path / "net" / "model.toml")):
        assert text in output
    assert ("14240.8" in output) == (name == "all")
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == ["model.toml", "weights.safetensors"]
    model, options = read_woods2019(weights[name])
    loaded = load_model(tmp_path / "net")
    with torch.no_grad():
        assert torch.equal(loaded(lossless[0][:32]), model(lossless[0][:32]))
    card = read_model_card(tmp_path / "net")
    assert card["best_constant"] == card["label_frequencies"] == [0.1] * 10
    assert card["loss"] == "cross_entropy"
    assert card["data"] == "cifar10"
    imported = card["imported"]
    assert imported["training_options"] == options
    assert (imported["format"], imported["licence"], imported["file"]) == ("woods2019", "MIT", weights[name].name)
    assert imported["sha256"] == digest_of(weights[name])
    code, output = pellucid("models", "show", tmp_path / "net")
    assert code == 0
    assert "adversarial-explanations-cifar" in output


def test_importing_again_replaces_itself_and_nothing_else(weights, tmp_path, pellucid):
    first = import_published("woods2019", weights["all"], tmp_path / "net")
    content = (tmp_path / "net" / "weights.safetensors").read_bytes()
    import_published("woods2019", weights["all"], tmp_path / "net")
    assert (tmp_path / "net" / "weights.safetensors").read_bytes() == content
    message, output = pellucid("models", "import", "woods2019", weights["standard"], "--out", tmp_path / "net")
    assert "holds another network already" in message
    assert "wrote" not in output
    save_model(first, tmp_path / "own")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.toml").write_text("seed = 0\n")
    (tmp_path / "file").write_text("")
    for folder, said in (
        ("own", "another network"),
        ("run", r"another network already \(run\.toml\)"),
        ("file", "a file"),
    ):
        with pytest.raises(InputError, match=said):
            import_published("woods2019", weights["standard"], tmp_path / folder)
    assert (tmp_path / "net" / "weights.safetensors").read_bytes() == content
    assert "imported" not in read_model_card(tmp_path / "own")


def test_an_unknown_format_gets_the_nearest(tmp_path, pellucid):
    message, _ = pellucid("models", "import", "woods-2019", tmp_path / "net.pt", "--out", tmp_path / "out")
    assert "unknown source 'woods-2019'. Did you mean 'woods2019'?" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_the_commands_help_names_every_format(name, pellucid):
    assert name in pellucid("models", "import", "--help")[1]
