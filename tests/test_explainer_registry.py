"""What the registry says of each method is what the method does, and what documentation, help and reports say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers.explaining import HEATMAPS_ON_CONVOLUTIONS, ON_CONVOLUTIONS
from helpers.models import small
from pellucid.evaluation.manipulation.gradient_maps import FORMS
from pellucid.explainers import EXPLAINERS, HEATMAPS, explain
from pellucid.explainers.registry import DIFFERENTIABLE
from pellucid.models import wrap
from pellucid.report.tables.metrics import method_label
from pellucid.types import InputError, InputSpec

DOCS = Path(__file__).parents[1] / "docs"
FEW = {"smoothgrad": {"samples": 2}, "integrated-gradients": {"steps": 3}, "rise": {"samples": 30}}
FEW |= {name: {"samples": 30, "segments": 9} for name in ("lime", "kernel-shap")}
FEW |= {"adversarial": {"steps": 2}}
TARGETS = torch.tensor([0, 2, 1])


@pytest.fixture(scope="module")
def model():
    return small(channels=3, task="multiclass", size=64, classes="abcd")


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def options(name):
    return {option: value for option, value in FEW.get(name, {}).items() if option in EXPLAINERS[name].options}


@pytest.mark.parametrize("name", ON_CONVOLUTIONS)
def test_kind_name_and_sign(name, model, images):
    entry = EXPLAINERS[name]
    found = explain(name, model, images, TARGETS, **options(name))
    assert (found.name, found.kind) == (entry.name, entry.kind) == (name, entry.kind)
    if entry.signed:
        assert found.maps.min() < 0 < found.maps.max()
    elif name not in ("cam", "guided-backprop"):  # these may be negative, but their zero stands for nothing
        assert found.maps.min() >= 0


@pytest.mark.parametrize("name", ON_CONVOLUTIONS)
def test_what_leaves_something_to_chance_has_a_seed_and_nothing_else_has(name, model, images):
    first, again = (explain(name, model, images, TARGETS, **options(name)).maps for _ in range(2))
    assert torch.equal(first, again)
    if EXPLAINERS[name].seeded:
        assert not torch.equal(explain(name, model, images, TARGETS, seed=1, **options(name)).maps, first)
    else:
        with pytest.raises(InputError, match="has no option 'seed'"):
            explain(name, model, images, TARGETS, seed=1)


@pytest.mark.parametrize("name", ON_CONVOLUTIONS)
def test_all_classes_at_once_is_one_pass_of_each_image_and_no_way_back(name, model, images):
    passed, back = [], []
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    hooks = [
        first.register_forward_hook(lambda _module, given, _out: passed.append(len(given[0]))),
        first.register_full_backward_hook(lambda *_: back.append(1)),
    ]
    try:
        explain(name, model, images, "all", batch_size=8, **options(name))
    finally:
        for hook in hooks:
            hook.remove()
    assert EXPLAINERS[name].all_classes_at_once == (sum(passed) == len(images) and not back)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_without_layouts_any_classifier_will_do(name, images):
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 4))
    bare = wrap(
        module,
        mean=[0.5] * 3,
        std=[0.25] * 3,
        task="multiclass",
        classes=["a", "b", "c", "d"],
        input_spec=InputSpec.square(3, 64),
    )
    if EXPLAINERS[name].layouts:
        with pytest.raises(InputError, match=r"needs the feature map|needs a transformer"):
            explain(name, bare, images, TARGETS, **options(name))
    else:
        explain(name, bare, images, TARGETS, **options(name))


def test_what_can_be_attacked_is_a_heat_map():
    assert set(DIFFERENTIABLE) <= set(HEATMAPS)
    assert set(DIFFERENTIABLE) == set(FORMS)


def test_fine_maps_change_from_pixel_to_pixel(model, images):
    """Neighbours have little in common in fine maps, and much in coarse ones."""
    for name in HEATMAPS_ON_CONVOLUTIONS:
        maps = explain(name, model, images, TARGETS, **options(name)).maps
        pairs = torch.stack([maps[:, :, 1:].flatten(), maps[:, :, :-1].flatten()])
        alike = float(torch.corrcoef(pairs)[0, 1])
        assert (alike < 0.75) == EXPLAINERS[name].fine, (name, alike)


def test_the_documentation_says_the_same():
    rows = re.findall(
        r"^\| `([\w+-]+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \| ?(.*?) ?\|$",
        (DOCS / "explanations.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    table = {row[0]: row[1:] for row in rows if row[0] in EXPLAINERS and len(row) == 6}
    assert list(table) == list(EXPLAINERS)
    for name, (holds, forward, _, every, chance) in table.items():
        entry = EXPLAINERS[name]
        assert holds.startswith("signed; ") == entry.signed, name
        assert (chance == "seed") == entry.seeded, name
        assert (forward == "1" and every == "the same") == entry.all_classes_at_once, name


def test_the_documentation_of_attacks_lists_what_can_be_attacked():
    how, what = ((DOCS / name).read_text(encoding="utf-8") for name in ("attack-explanations.md", "manipulation.md"))
    (attacked,) = re.findall(r"^\| `--method` \| (.*?) \|$", how, re.MULTILINE)
    (spared,) = re.findall(r"^Not attacked: (.*?);", what, re.MULTILINE | re.DOTALL)
    assert re.findall(r"`(.*?)`", attacked) == list(DIFFERENTIABLE)
    assert set(re.findall(r"`(.*?)`", spared)) == set(HEATMAPS) - set(DIFFERENTIABLE)


def test_labels_are_those_of_the_reports():
    labels = [entry.label for entry in EXPLAINERS.values()]
    assert len(set(labels)) == len(labels)
    assert [method_label(name) for name in EXPLAINERS] == labels


@pytest.mark.parametrize(
    ("command", "methods"),
    [
        ("explain", EXPLAINERS),
        ("localize", HEATMAPS),
        ("trust", HEATMAPS),
        ("certify-explanation", HEATMAPS),
        ("attack-explanation", DIFFERENTIABLE),
    ],
)
def test_help_names_the_methods(command, methods, pellucid, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    _, output, _ = pellucid(command, "--help")
    assert ", ".join(methods) in output
    assert not re.search(r"\{(methods|heatmaps|differentiable|layer|segments|samples)\}", output)
    if command == "explain":
        assert "LIME and Kernel SHAP: about so many superpixels." in output
