"""`import pellucid as pl`: each verb does what it says, on the phantom and an untrained model."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, brier_score_loss, roc_auc_score
from torch import nn

import pellucid as pl
from helpers.annotate import make_network
from helpers.notebooks import charts_of
from pellucid.data.regions import Regions
from pellucid.evaluation.metrics.statistics import Bootstrap
from pellucid.models.inference import predict
from pellucid.types import InputError

SMALL = {"size": 48, "train": 24, "validation": 8, "test": 40, "prevalence": 0.4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_network(tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(scope="module")
def model(folder):
    return pl.load(folder)


@pytest.fixture(scope="module")
def test_part():
    return pl.dataset("phantom", split="test", **SMALL)


@pytest.fixture(scope="module")
def images(test_part, model):
    spec = model.input_spec
    return torch.stack([image for image, _ in test_part.resize(spec.height, spec.channels)])


def test_every_name_is_there_and_stays_what_it_is():
    import pellucid.study.run  # noqa: F401 (sets the package's name beside the verb)

    for name in pl.__all__:
        assert getattr(pl, name) is not None
    assert set(pl.VERBS) <= set(dir(pl))
    assert all(callable(getattr(pl, name)) for name in pl.VERBS)
    with pytest.raises(AttributeError, match="explian"):
        pl.explian  # noqa: B018


def test_a_loaded_model_has_its_card(model, folder):
    assert model.path == folder
    assert list(model.card["classes"]) == list(model.classes)


def test_metrics_of_arrays_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    scores, targets = generator.random(50).round(1), generator.integers(0, 2, 50)
    assert pl.auroc(scores, targets) == pytest.approx(roc_auc_score(targets, scores))
    assert pl.average_precision(scores, targets) == pytest.approx(average_precision_score(targets, scores))
    assert pl.accuracy(scores > 0.5, targets) == pytest.approx(accuracy_score(targets, scores > 0.5))
    found = pl.auroc(scores, targets, interval=True)
    assert found.low < found.value < found.high
    pairs = pl.auroc(scores, targets, interval=Bootstrap([i // 2 for i in range(50)]))
    assert pairs.value == found.value
    assert (pairs.low, pairs.high) != (found.low, found.high)


def test_an_undefined_metric_is_nan_and_says_why():
    assert np.isnan(pl.auroc([0.1, 0.2], [1, 1]))
    assert pl.auroc([0.1, 0.2], [1, 1], interval=True).reason == "no negatives"


def test_evaluate_gives_accuracy_and_what_scikit_learn_gives(model, test_part, images, tmp_path):
    test_part, images = test_part.subset(range(16)), images[:16]
    found = pl.evaluate(model, test_part, attacks=["pgd:linf=2/255", pl.Epsilon(linf=0.02), "pgd:linf=0.02"], steps=2)
    logits = model(images).detach().numpy()
    areas = [roc_auc_score(test_part.targets[:, k], logits[:, k]) for k in range(len(model.classes))]
    assert found.auroc.value == pytest.approx(np.mean(areas))
    assert found.accuracy.value == pytest.approx(((logits > 0) == (test_part.targets == 1)).mean())
    sure, truth = 1 / (1 + np.exp(-logits.astype(float))), test_part.targets
    assert found.brier.value == pytest.approx(
        np.mean([brier_score_loss(t, p) for t, p in zip(truth.T, sure.T, strict=True)])
    )
    home = np.searchsorted(np.quantile(sure, np.arange(1, 15) / 15), sure.ravel(), side="right")
    bins = [home == b for b in range(15)]
    over = [(sure.ravel()[b].mean() - truth.ravel()[b].mean(), truth.ravel()[b].mean(), b.sum()) for b in bins]
    squares = [n * (gap**2 - share * (1 - share) / (n - 1)) for gap, share, n in over]  # Kumar et al. 2019
    assert found.calibration_error.value == pytest.approx(max(0, sum(squares) / sure.size) ** 0.5)
    assert found.brier.low < found.brier.value < found.brier.high
    labels = [row[0] for row in found.tables()[1].rows]
    assert labels == ["Calibration error", "Overconfidence", "Brier score"]
    under = found.robust_accuracy
    assert list(under) == ["0", "PGD L∞ 0.00784314", "L∞ 0.02", "PGD L∞ 0.02"]
    assert under["0"].value == found.accuracy.value
    assert under["L∞ 0.02"].value <= under["PGD L∞ 0.02"].value <= under["0"].value
    assert "accuracy" in found.tables()[0].columns
    assert "<table>" in found._repr_html_()
    areas, *under = charts_of(found)
    assert areas >= {"Mean", "AUROC with 95 % interval", "Mass"}
    assert len(under) == 4  # two metrics by PGD and by the default attack
    assert [path.name for path in found.save(tmp_path)] == ["classification.json", "classification.csv"]
    with pytest.raises(InputError, match="There are: auroc"):
        found.figure("auc")


def test_evaluate_takes_classes_in_another_order(model, test_part):
    from dataclasses import replace

    order = np.arange(len(test_part.classes))[::-1]
    card = replace(test_part.card, classes=tuple(test_part.classes[k] for k in order))
    turned = replace(test_part, card=card, targets=test_part.targets[:, order])
    assert pl.evaluate(model, turned).auroc.value == pl.evaluate(model, test_part).auroc.value


def test_a_size_that_is_none_is_refused_first(model, test_part):
    for text in ("linf=8/0", "linf=a/b", "l7=1", "8/255"):
        with pytest.raises(InputError, match=r"size|expected"):
            pl.evaluate(model, test_part, attacks=[text])


def test_localize_scores_a_map_beside_trivial_ones(model, test_part):
    found = pl.localize(model, test_part, ["saliency", "cam"], limit=20)
    assert found.methods == ("saliency", "cam")
    assert found.pointing == found.figure("pointing", method="saliency")
    assert found.tables()[0].columns == ["map", "pointing", "energy_share", "energy_ratio", "auprc"]
    assert found.energy_share == found.figure("energy_share", method="saliency")
    assert 0 < found.energy_share.value < 1
    assert found.energy_ratio.value > found.energy_share.value
    shown = [row[0] for row in found.tables()[0].rows]
    assert shown[:2] == ["saliency", "cam"]
    assert "trivial: uniform" in shown
    assert found.about["model"] == str(model.path)
    drawn = charts_of(found)
    assert len(drawn) == 4
    assert all({"Saliency", "CAM"} <= texts for texts in drawn)
    assert "dotted uniform" in found._repr_html_()


def test_localize_finds_the_regions_of_a_class_by_its_name_in_the_data(model, test_part):
    from dataclasses import replace

    names = {"Mass": "Tumour", "Nodule": "Node"}
    renamed = tuple(names.get(c, c) for c in test_part.classes)
    regions = Regions(tuple(replace(r, label=names.get(r.label, r.label)) for r in test_part.regions.items))
    data = replace(test_part, card=replace(test_part.card, classes=renamed), regions=regions)
    expected = pl.localize(model, test_part, limit=20)
    assert pl.localize(model, data, limit=20, class_map=names).rows == expected.rows
    assert pl.localize(model, data, limit=20).rows != expected.rows  # the two classes are not looked for
    with pytest.raises(InputError, match="give one of the two"):
        pl.localize(model, data, class_map=names, regions={"Mass": ["Tumour"]})
    with pytest.raises(InputError, match="no class 'Mas'"):
        pl.localize(model, data, class_map={"Mas": "Tumour"})
    with pytest.raises(InputError, match="marks no 'Tumor'"):
        pl.localize(model, data, class_map={"Mass": "Tumor"})


def test_localize_keeps_scores_of_one_choice_of_regions(model, test_part, tmp_path):
    """Regions of other labels, or classes numbered in another order, are other scores."""
    swapped = {"Mass": "Nodule", "Nodule": "Mass"}
    one, other = {"Mass": ["Mass"], "Nodule": ["Nodule"]}, {"Nodule": ["Nodule"], "Mass": ["Mass"]}
    for options in ({}, {"class_map": swapped}, {"regions": one}, {"regions": other}):
        fresh = pl.localize(model, test_part, limit=20, boxes=False, **options)
        assert pl.localize(model, test_part, limit=20, boxes=False, out=tmp_path, **options).rows == fresh.rows


def test_scores_that_were_made_otherwise_are_not_read_again(model, test_part, tmp_path, monkeypatch):
    from pellucid.verbs import localize

    pl.localize(model, test_part, limit=20, boxes=False, out=tmp_path)
    (before,) = (tmp_path / "kept").glob("*.npz")
    monkeypatch.setattr(localize, "SCORES_RULES", localize.SCORES_RULES + 1)
    pl.localize(model, test_part, limit=20, boxes=False, out=tmp_path)
    assert len([*(tmp_path / "kept").glob("*.npz")]) == 2
    assert before.is_file()


def test_explain_explains_what_is_predicted(model, images, tmp_path):
    found = pl.explain(model, images[:3], "cam")
    chosen = model(images[:3]).argmax(1)
    assert torch.equal(found.targets, chosen)
    weight = model.head.weight[chosen]
    expected = torch.einsum("nd,ndhw->nhw", weight, model.features(images[:3]))
    mean = torch.nn.functional.interpolate(expected[:, None], size=images.shape[2:], mode="bilinear")[:, 0]
    for one, other in zip(found.maps, mean, strict=True):  # up to the bias, which no place has
        assert np.corrcoef(one.flatten().detach(), other.flatten().detach())[0, 1] > 0.999
    assert found._repr_html_().count("<img") == 3
    assert [path.name for path in found.save(tmp_path)] == ["explain.json", "explain.html", "boxes.csv"]
    assert (tmp_path / "image-3.png").is_file()
    with np.load(tmp_path / "image-2.npz") as arrays:
        assert np.array_equal(arrays[f"{model.classes[chosen[1]]}|cam"], found.maps[1])
    named = pl.explain(model, images[0], "saliency", targets=model.classes[1])
    assert named.targets.tolist() == [1]
    assert pl.explain(model, images[:1], "adversarial", rho=0.05)._repr_html_().count("<img") == 1
    with pytest.raises(InputError, match="unknown class"):
        pl.explain(model, images, targets="Nodul")
    with pytest.raises(InputError, match="must lie in"):
        pl.explain(model, images * 255)
    with pytest.raises(InputError, match="one class index per image"):
        pl.explain(model, images, targets=torch.tensor([0]))
    with pytest.raises(InputError, match="one of the two"):
        pl.explain(model, images, targets=0, classes="all")


def test_explain_of_several_classes_and_methods_is_that_of_each(model, images, test_part):
    """One batch of all pairs gives what each image, class and method gives alone."""
    from pellucid.explainers import explain

    found = pl.explain(model, images[:2], ["saliency", "adversarial"], classes="top2", rho=0.05, optimiser="tight")
    ranked = model(images[:2]).argsort(1, descending=True)[:, :2]
    assert torch.equal(found.targets, ranked.flatten())
    assert len(found.rows) == 2 * 2 * 2
    pairs = [(row, c) for row in range(2) for c in ranked[row].tolist()]
    for p, (i, c) in enumerate(pairs):
        alone = explain("saliency", model, images[i : i + 1], c).maps[0]
        torch.testing.assert_close(found.maps[p], alone, rtol=1e-4, atol=1e-6)
        moved = found.maps_of("adversarial")[p]
        assert float((moved - images[i]).square().mean().sqrt()) == pytest.approx(0.05, rel=1e-3)
        assert model(moved[None])[0, c] > model(images[i : i + 1])[0, c]
    row = next(i for i, target in enumerate(test_part.targets) if target.sum() > 0)
    true = pl.explain(model, test_part, "cam", classes="true", ids=[test_part.ids[row]])
    assert true.targets.tolist() == np.flatnonzero(test_part.targets[row]).tolist()
    with pytest.raises(InputError, match="chosen by id from a dataset"):
        pl.explain(model, images, ids=["a"])


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    found = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():  # classes of much the same logits, so that small changes decide
        found[4].bias -= found((torch.rand(64, 1, 16, 16) - 0.5) / 0.25).mean(0)
    return found


def test_attack_changes_the_decision_within_its_size(net):
    model = pl.wrap(net, ["a", "b", "c"], size=16, mean=[0.5], std=[0.25])
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    least = pl.attack(model, images, labels)
    assert least.found.any()
    assert (model(least.perturbed).argmax(1) != labels).equal(least.found)
    bound = float(least.radius[least.found].median())
    for found in (
        pl.attack(model, images, labels, "pgd", eps=pl.Epsilon(rms=bound), steps=20),
        pl.attack(model, images, labels, "fgsm", eps=pl.Epsilon(rms=bound)),
        pl.attack(model, images, labels, "tight", eps=pl.Epsilon(rms=bound)),
    ):
        assert (model(found.perturbed).argmax(1) != labels).equal(found.found)
        assert bool((found.radius[found.found] <= bound * 1.0001).all())
        assert torch.equal(found.perturbed[~found.found], images[~found.found])
    assert least.success_rate == float(least.found.float().mean())
    with pytest.raises(InputError, match="give eps="):
        pl.attack(model, images, labels, "pgd")
    with pytest.raises(InputError, match="must have shape"):
        pl.attack(model, images, labels[:2])


def test_attack_flips_one_label(model, images, test_part):
    labels = torch.from_numpy(test_part.targets[:4])
    name = model.classes[0]
    found = pl.attack(model, images[:4], labels, "tight", label=name, effort=2)
    assert found._repr_html_().count('<img alt="Images before and after the attack') == 1
    decided = model(found.perturbed)[:, 0] >= 0
    assert (decided != (labels[:, 0] == 1)).equal(found.found)
    with pytest.raises(InputError, match="say which label"):
        pl.attack(model, images[:4], labels)


class Residual(nn.Module):
    """Named as torchvision names a ResNet's parts."""

    def __init__(self):
        super().__init__()
        self.conv1, self.layer1 = nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU())
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(5, 2)

    def forward(self, x):
        return self.fc(self.avgpool(self.layer1(self.conv1(x))).flatten(1))


class Dense(nn.Module):
    """Named as torchvision names a DenseNet's parts, with its last activation outside `features`."""

    def __init__(self):
        super().__init__()
        self.features, self.classifier = nn.Sequential(nn.Conv2d(3, 5, 3)), nn.Linear(5, 2)

    def forward(self, x):
        return self.classifier(torch.relu(self.features(x)).mean((2, 3)))


class Timm(nn.Module):
    """Named as timm names its parts, with its configuration."""

    pretrained_cfg = {"input_size": (3, 24, 24), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 5, 3), nn.ModuleDict({"fc": nn.Linear(5, 2)})
        self.head.fc = self.head["fc"]

    def forward_features(self, x):
        return torch.relu(self.stem(x))

    def forward(self, x):
        return self.head.fc(self.forward_features(x).mean((2, 3)))


class Tokens(nn.Module):
    """A head on a feature map of which it takes the largest values, not the mean."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 5, 3), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.conv(x).amax((2, 3)))


SHAPE = {"size": 24, "mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.mark.parametrize(("kind", "settings"), [(Residual, SHAPE), (Dense, SHAPE), (Timm, {})])
def test_wrap_finds_features_and_head_by_what_they_compute(kind, settings):
    torch.manual_seed(1)
    module = kind()
    model = pl.wrap(module, ["cat", "dog"], **settings)
    images = torch.rand(2, 3, 24, 24)
    assert model.has_linear_head
    assert torch.allclose(model.head(model.features(images).mean((2, 3))), model(images), atol=1e-5)
    given = settings or kind.pretrained_cfg
    mean, std = (torch.tensor(given[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    assert torch.allclose(module((images - mean) / std), model(images), atol=1e-5)
    assert pl.explain(model, images, "cam").maps.shape == (2, 24, 24)


def test_wrap_asks_for_what_nobody_says():
    with pytest.raises(InputError, match="give size=, mean=, std="):
        pl.wrap(Residual(), ["cat", "dog"])
    model = pl.wrap(Tokens(), ["cat", "dog"], **SHAPE)
    assert pl.explain(model, torch.rand(1, 3, 24, 24), "saliency").maps.shape == (1, 24, 24)
    with pytest.raises(InputError, match=r"ends in pooling and one linear layer.*use grad-cam"):
        pl.explain(model, torch.rand(1, 3, 24, 24), "cam")
    assert pl.explain(model, torch.rand(1, 3, 24, 24), "grad-cam").maps.shape == (1, 24, 24)


def test_a_wrapped_model_is_judged_as_a_loaded_one(model, test_part):
    spec = model.input_spec
    again = pl.wrap(model, model.classes, task=model.task, size=spec.height, channels=1, mean=[0], std=[1])
    found = pl.evaluate(again, test_part)
    assert found.auroc == pl.evaluate(model, test_part).auroc
    assert any("no record" in text for text in found.warnings)
    np.testing.assert_allclose(predict(again, np.zeros((1, 1, 32, 32), np.uint8)).shape, (1, len(model.classes)))


def test_ara_leaves_out_what_a_wrapped_model_cannot_be_asked_and_takes_its_best_constant(test_part):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, len(test_part.classes)))
    model = pl.wrap(net, test_part.classes, task="multilabel", size=32, channels=1, mean=[0], std=[1])
    options = {"protocol": "ddn", "checked": 0}
    found = pl.ara(model, test_part, **options)
    assert list(found.kinds) == ["attack"]
    assert "btr: the area of this kind is left out" in found.warnings[-1]
    with pytest.raises(InputError, match="no area of kind btr"):
        pl.ara(model, test_part, "attack,btr", **options)
    model.card = {**model.card, "best_constant": [0.4] * len(test_part.classes)}
    assert list(pl.ara(model, test_part, **options).kinds) == ["attack", "btr"]


def test_certify_says_what_it_lacks(model, test_part):
    with pytest.raises(InputError, match=r"no label has a certified area \(Atelectasis: .* Measure more images"):
        pl.certify(model, test_part.subset(range(3)), 0.25, attack_samples=None)


def test_train_and_study(tmp_path):
    few = ["training.epochs=1", "training.batch_size=8", "model.name=small", "model.size=32"]
    parts = pl.dataset("phantom", **SMALL)
    run = pl.train("standard", parts, tmp_path / "run", overrides=few, device="cpu")
    assert [row["epoch"] for row in run.rows] == [1]
    assert run.load().classes == parts["train"].classes
    assert "<table>" in run._repr_html_()
    assert all("epoch" in texts for texts in charts_of(run))
    assert len(charts_of(run)) == 3
    with pytest.raises(InputError, match="give validation="):
        pl.train("standard", parts["train"], tmp_path / "other", overrides=few)
