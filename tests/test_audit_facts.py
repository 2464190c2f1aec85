"""What an audit says of the images: whose they are, which classes they lack, and of whom the intervals speak."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from PIL import Image

import pellucid as pl
from pellucid.audit.facts import source_versions, title_of, what_is_not_known, what_it_is
from pellucid.audit.results import general_limits
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.models import create_model
from pellucid.utils.resources import version_of


def of_classes(targets, classes="abcde", patients=None):
    names = tuple(map(str, range(len(targets))))
    card = DatasetCard("made", "Made", "multiclass", tuple(classes))
    return Dataset(card, "test", names, patients or names, np.array(targets), lambda i: None)


def test_a_sample_that_lacks_classes_says_so():
    model = create_model("small", classes=list("abcde"), task="multiclass")
    one_each, some, every = of_classes([0, 1]), of_classes([0, 0, 1]), of_classes([0, 1, 2, 3, 4])
    images = [what_it_is(model, whole, whole, "")["Images"] for whole in (one_each, some, every)]
    assert images[0] == "Made, part test: 2 images, one of each of 2 of the 5 classes"
    assert images[1] == "Made, part test: 3 images of 2 of the 5 classes"
    assert images[2] == "Made, part test: 5 images"
    assert "Of 3 of the 5 classes there is no image" in " ".join(general_limits(one_each))
    assert "there is no image" not in " ".join(general_limits(every))


def test_intervals_speak_of_patients_only_where_there_are_some():
    alone, shared = of_classes([0, 1, 2]), of_classes([0, 1, 2], patients=("p", "p", "q"))
    assert "other images like these" in general_limits(alone)[0]
    assert "other patients like these" in general_limits(shared)[0]
    assert not any("patient" in sentence for sentence in general_limits(alone))


def test_a_folder_has_the_licence_and_the_credit_that_it_is_given(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "test" / name / f"{name}.png")
    model = create_model("small", classes=["a", "b"], task="multiclass")
    bare = pl.dataset("folder", tmp_path, "test")
    stated = pl.dataset("folder", tmp_path, "test", licence="CC BY 4.0", citation="A. Person, 2018")
    facts = [what_it_is(model, whole, whole, "") for whole in (bare, stated)]
    assert (facts[0]["Licence of the images"], "Credit of the images" in facts[0]) == ("not stated", False)
    assert facts[1]["Licence of the images"] == "CC BY 4.0"
    assert facts[1]["Credit of the images"] == "A. Person, 2018"
    assert bare.fingerprint == stated.fingerprint
    parts = [FittedImages(whole, model.input_spec) for whole in (bare, stated)]
    unknown = [what_is_not_known(model, part, {"trained_on": None, "unknown": []}) for part in parts]
    assert all(any(line.startswith("Who labelled the images") for line in of) for of in unknown)  # a credit says not


def test_a_sample_of_the_classes_is_called_one_in_the_headline():
    assert title_of(of_classes([0, 1])) == "Made (2 images, one of each of 2 of the 5 classes)"
    assert title_of(of_classes([0, 1, 2, 3, 4])) == "Made"


def test_the_library_that_a_network_comes_from_is_recorded():
    model = create_model("small", classes=["a", "b"], task="multiclass")
    assert source_versions(model) == {}
    for address, package in (("timm:resnet50", "timm"), ("huggingface:here", "transformers")):
        expected = {} if version_of(package) == "unknown" else {package: version_of(package)}
        assert source_versions(SimpleNamespace(source=SimpleNamespace(address=address))) == expected
