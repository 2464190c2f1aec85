"""What an attack cannot work with: one clear error each."""

from __future__ import annotations

import pytest
import torch

from helpers import attack as example
from pellucid.attacks import (
    METHODS,
    Misclassified,
    RadiusReached,
    Targeted,
    confidence,
    label_flipped,
    minimal,
    woods2019,
)
from pellucid.types import InputError

LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def nan_network(images):
    net = example.network()
    net.module[-1].bias.data[2] = torch.nan
    return net


class Column(torch.nn.Module):
    """A network that returns one number per image instead of logits (N, K)."""

    def forward(self, images):
        return images.sum((1, 2, 3))


CASES = {
    "pixels of 8 bits": ({"images": example.pictures() * 255}, "found values from 0 to 255"),
    "below the box": ({"images": example.pictures() - 0.5}, "must lie in \\[0, 1\\]"),
    "integers": ({"images": (example.pictures() * 255).byte()}, "must be floating point"),
    "NaN pixels": ({"images": example.pictures().masked_fill(example.pictures() > 0.99, torch.nan)}, "from nan to nan"),
    "one image without a batch": ({"images": example.pictures()[0]}, "must have shape \\(N, C, H, W\\)"),
    "no images": ({"images": example.pictures()[:0], "criterion": Misclassified(LABELS[:0])}, "no images to attack"),
    "grey for colour": ({"images": example.pictures(channels=1)}, "takes 3 channel"),
    "a label too high": ({"criterion": Misclassified(LABELS + 1)}, "from 0 to 3; found 1 to 4"),
    "a negative label": ({"criterion": Targeted(LABELS - 1)}, "from 0 to 3; found -1 to 2"),
    "fewer labels": ({"criterion": Misclassified(LABELS[:4])}, "speaks of 4 images; found 6"),
    "labels one by one of a multiclass network": (
        {"criterion": label_flipped(LABELS, LABELS > 1, [0.5] * 4)},
        "for a multilabel classifier; this one is multiclass",
    ),
    "classes of a multi-label network": (
        {"classifier": example.network(task="multilabel")},
        "use label_flipped, label by label",
    ),
    "a target of a multi-label network": (
        {"classifier": example.network(task="multilabel"), "criterion": Targeted(LABELS)},
        "use confidence, label by label",
    ),
    "softmax of a multi-label network": (
        {
            "classifier": example.network(task="multilabel"),
            "criterion": confidence(LABELS, 0.5, task="multiclass"),
        },
        "for a multiclass classifier; this one is multilabel",
    ),
    "a network that returns NaN": ({"classifier": nan_network(None)}, "1 logits that are not finite, of 4"),
    "a network without classes": ({"classifier": Column()}, "logits \\(N, K\\), one per class; found \\(1,\\)"),
    "no image at a time": ({"batch_size": 0}, "batch_size must be at least 1; found 0"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_bad_input_is_named(case):
    changes, message = CASES[case]
    arguments = {"images": example.pictures(), "criterion": Misclassified(LABELS), **changes}
    net = arguments.pop("classifier", None) or example.network()
    with pytest.raises(InputError, match=message):
        minimal(net, arguments.pop("images"), arguments.pop("criterion"), **arguments)


@pytest.mark.parametrize("case", [name for name in CASES if "label" not in name or "a label" in name])
def test_the_same_for_a_walk_of_given_length(case):
    changes, message = CASES[case]
    arguments = {"images": example.pictures(), "criterion": Misclassified(LABELS), **changes}
    net = arguments.pop("classifier", None) or example.network()
    goal = RadiusReached(arguments.pop("criterion"), 0.1)
    with pytest.raises(InputError, match=message):
        woods2019(net, arguments.pop("images"), goal, length=0.1, steps=2, **arguments)


def test_another_number_of_classes_than_the_classifier_states():
    net = example.network()
    net.classes = ("a", "b", "c")
    with pytest.raises(InputError, match="one per class; found \\(1, 4\\)"):
        minimal(net, example.pictures(), Misclassified(LABELS))


@pytest.mark.parametrize("method", list(METHODS))
def test_logits_that_turn_into_nan_on_the_way_are_refused(method):
    """The network is fine on the images, and not on whatever is darker or brighter than they are."""

    class Fragile(torch.nn.Module):
        def forward(self, images):
            total = images.sum((1, 2, 3))
            logits = torch.stack([total, -total], 1)
            return torch.where((images - 0.5).abs().amax() > 1e-6, logits * torch.nan, logits)

    with pytest.raises(InputError, match="not finite"):
        minimal(Fragile(), torch.full((2, 1, 4, 4), 0.5), Misclassified(torch.tensor([0, 0])), method=method)


@pytest.mark.parametrize(("name", "meant"), [("tihgt", "tight"), ("woods", "woods2019"), ("FMN", "fmn")])
def test_an_unknown_method_is_told_the_nearest(name, meant):
    with pytest.raises(InputError, match=f"unknown attack '{name}'.*{meant}"):
        minimal(example.network(), example.pictures(), Misclassified(LABELS), method=name)
