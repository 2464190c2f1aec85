"""Findings that count for a known reason: the label follows the rule, and the metadata say what it was made of."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pellucid.audit.groups import make_groupings
from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES, attributes_of
from pellucid.data.readers.phantom.reader import open_phantom, render
from pellucid.evaluation.discovery.metadata import worth_of_column
from pellucid.evaluation.discovery.settings import DiscoverySettings
from pellucid.types import InputError

MANY = {"size": 32, "train": 200, "validation": 1, "test": 1, "prevalence": 0.5}
WEIGHTS = {"size": 1.0, "density": -0.5, "side": 0.25}


SIDES = {"": np.nan, "left": 0.0, "right": 1.0}


def numbers(data, name):
    return np.array([SIDES[text] if text in SIDES else float(text) for text in data.metadata[name]])


@pytest.mark.parametrize("label", PHANTOM_CLASSES)
def test_the_label_follows_the_rule_from_what_the_metadata_say(label):
    own = attributes_of(label)
    weights = {name: WEIGHTS[name] for name in own}
    data = open_phantom(options=MANY | {"reasons": {label: weights}})["train"]
    plain = open_phantom(options=MANY)["train"]
    assert list(data.metadata) == [f"{label} {name}" for name in own]
    value = sum(w * (numbers(data, f"{label} {name}") - 0.5) for name, w in weights.items())
    column = data.classes.index(label)
    assert np.isfinite(value).tolist() == (plain.targets[:, column] == 1).tolist()  # whatever is drawn has attributes
    clear = ~(np.abs(value) < 0.002)  # the metadata have three decimals
    np.testing.assert_array_equal(data.targets[clear, column] == 1, np.nan_to_num(value[clear], nan=-1) > 0)
    assert 0.3 < data.targets[:, column].sum() / plain.targets[:, column].sum() < 0.7
    others = [k for k in range(8) if k != column]
    np.testing.assert_array_equal(data.targets[:, others], plain.targets[:, others])
    marked = {region.image for region in data.regions.items if region.label == label}
    assert marked == set(np.flatnonzero(data.targets[:, column] == 1).tolist())
    np.testing.assert_array_equal(data.read(3), plain.read(3))


def test_size_and_side_are_those_of_the_mask():
    data = open_phantom(options=MANY | {"size": 64, "reasons": {"Mass": {"size": 1}}})["train"]
    plain = {r.image: r for r in open_phantom(options=MANY | {"size": 64})["train"].regions.items if r.label == "Mass"}
    rows = sorted(plain)
    size, side = numbers(data, "Mass size")[rows], numbers(data, "Mass side")[rows]
    width = np.array([plain[row].box[2] for row in rows])
    middle = np.array([plain[row].box[0] for row in rows]) + width / 2
    assert np.corrcoef(size, width)[0, 1] > 0.8
    assert np.mean((middle > 0.5) == (side == 1)) > 0.98


def test_a_shortcut_goes_with_what_counts():
    options = MANY | {
        "reasons": {"Mass": {"side": 1}},
        "shortcuts": {"tube": {"finding": "Mass", "strength": 1.0, "elsewhere": 0.0}},
    }
    data = open_phantom(options=options)["train"]
    has = np.array(data.metadata["tube"]) == "yes"
    np.testing.assert_array_equal(has, data.targets[:, data.classes.index("Mass")] == 1)
    np.testing.assert_array_equal(has, np.array(data.metadata["Mass side"]) == "right")
    row = int(np.flatnonzero(~has & (np.array(data.metadata["Mass side"]) == "left"))[0])
    image = render(row, options=options)
    assert "Mass" not in image.masks
    assert "Mass" not in image.boxes
    assert image.labels[data.classes.index("Mass")] == 0


def test_without_reasons_a_phantom_keeps_its_name_and_its_kept_results():
    plain = open_phantom(options=MANY)["train"]
    assert "reasons" not in plain.origin
    other = open_phantom(options=MANY | {"reasons": {"Mass": {"size": 1}}})["train"]
    assert other.origin != plain.origin
    assert other.stable_ids != plain.stable_ids


@pytest.mark.parametrize(
    ("reasons", "says"),
    [
        ({"Mass": {}}, r"reasons.Mass.*no attribute has a weight other than 0.*size, density, side"),
        ({"Cardiomegaly": {"side": 1}}, r"reasons.Cardiomegaly.*its side does not vary.*to: size"),
        ({"Effusion": {"size": 1, "density": 1}}, r"reasons.Effusion.*its density does not vary.*size, side"),
        ({"Mas": {"size": 1}}, r"unknown key .*Mas'.*Did you mean 'Mass'"),
        ({"Mass": {"margin": 1}}, r"unknown key .*margin'"),
        ({"Mass": {"size": "inf"}}, r"reasons.Mass.size.*finite"),
    ],
)
def test_bad_reasons_say_how_to_mend_them(reasons, says):
    with pytest.raises(InputError, match=f"(?s){says}"):
        open_phantom(options={"reasons": reasons})


def test_the_attribute_that_a_network_goes_by_is_told_from_the_other():
    """Size and side count; the answers are the side's alone, and what `discover` tests columns by says so."""
    data = open_phantom(options=MANY | {"test": 600, "train": 1, "reasons": {"Mass": {"size": 1, "side": 0.5}}})["test"]
    column = data.classes.index("Mass")
    groupings, _ = make_groupings(data.metadata)
    assert [one.column for one in groupings] == ["Mass size", "Mass density", "Mass side"]
    noise = np.random.default_rng(0).normal(size=data.targets.shape)
    samples = SimpleNamespace(
        columns={one.column: (one.members, one.names) for one in groupings},
        odds=noise + 3 * np.nan_to_num(numbers(data, "Mass side") - 0.5)[:, None],
        labels=data.targets,
        patients=np.unique(data.patients, return_inverse=True)[1],
    )
    first, second = np.arange(0, 600, 2), np.arange(1, 600, 2)
    p = {
        name: worth_of_column(samples, name, column, first, second, DiscoverySettings())[1] for name in samples.columns
    }
    assert p["Mass side"] < 0.005
    assert min(p["Mass size"], p["Mass density"]) > 0.05
