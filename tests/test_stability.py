"""Maximum sensitivity against captum and a closed form; alignment, the grid pointing game and the planted shortcut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max

from helpers.models import small
from helpers.trust import constant, fixed_noise, fresh_noise, linear
from pellucid.data import open_dataset
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.readers.phantom.options import VisibleShortcut
from pellucid.evaluation.trust.alignment import alignment
from pellucid.evaluation.trust.grid_pointing import assemble, compose, quarter_share
from pellucid.evaluation.trust.maps import Mapper
from pellucid.evaluation.trust.shortcut import painted_over, removal_effects, shortcut_task
from pellucid.evaluation.trust.stability import max_sensitivity
from pellucid.types import InputError, InputSpec

TARGETS = torch.tensor([0, 1, 2, 0])
IMAGES = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(3))


def test_maximum_sensitivity_is_captums():
    """The same draws, away from the edges of the pixels' range, where captum does not clip."""
    net, images, draws = small(), 0.2 + 0.6 * IMAGES, torch.Generator().manual_seed(6)

    def move(inputs):  # captum asks for one sample at a time here
        return inputs + (2 * torch.rand(inputs.shape, generator=draws) - 1) * 0.05

    def explain(inputs, target):
        inputs = inputs[0] if isinstance(inputs, tuple) else inputs
        return (saliency(net, inputs, target, 0),)  # captum goes through a tensor row by row

    saliency = Mapper("saliency")
    theirs = sensitivity_max(explain, images, move, n_perturb_samples=3, max_examples_per_batch=4, target=TARGETS)
    ours = max_sensitivity(saliency, net, images, TARGETS, radius=0.05, samples=3, seed=6)
    torch.testing.assert_close(ours.float(), theirs)
    assert (ours > 0).all()


def test_noise_and_constants():
    assert max_sensitivity(fixed_noise(), small(), IMAGES, TARGETS).tolist() == [0.0] * 4
    fresh = max_sensitivity(fresh_noise(), small(), IMAGES, TARGETS, samples=4)
    # two maps of independent uniform values: E(a − b)² / E a² = (1/6) / (1/3)
    assert fresh.mean() == pytest.approx(0.5**0.5, abs=0.05)
    assert max_sensitivity(constant(), small(), IMAGES, TARGETS).isnan().all()
    assert max_sensitivity(Mapper("saliency"), linear(torch.rand(3, 1, 32, 32)), IMAGES, TARGETS).abs().max() < 1e-6
    with pytest.raises(InputError, match="at least one sample"):
        max_sensitivity(fixed_noise(), small(), IMAGES, TARGETS, samples=0)


def test_alignment_of_a_linear_network_is_the_distance_to_its_boundary():
    weights = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    found = alignment(linear(weights), IMAGES, TARGETS)
    chosen = weights[TARGETS].double()
    logits = (IMAGES * chosen).sum((1, 2, 3))
    expected = logits.abs() / chosen.flatten(1).norm(dim=1)
    torch.testing.assert_close(found.alpha, expected)
    edge = IMAGES.double() - (logits / chosen.flatten(1).square().sum(1))[:, None, None, None] * chosen
    torch.testing.assert_close((edge - IMAGES).flatten(1).norm(dim=1), expected)  # as far as the boundary is
    own = alignment(linear(IMAGES[:3] - IMAGES[:3].mean((2, 3), keepdim=True)), IMAGES[:3], torch.tensor([0, 1, 2]))
    assert own.cosine.tolist() == pytest.approx([1.0] * 3)


def test_alignment_of_no_gradient_or_one_colour_is_undefined():
    flat = torch.full((1, 1, 32, 32), 0.4)
    assert alignment(linear(torch.zeros(3, 1, 32, 32)), flat, TARGETS[:1]).alpha.isnan().all()
    found = alignment(linear(torch.rand(3, 1, 32, 32)), flat, TARGETS[:1])
    assert found.cosine.isnan().all()
    assert not found.alpha.isnan().any()


def test_mosaics_hold_one_image_of_the_class_explained():
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3, 0])
    predicted = np.where(np.arange(9) == 8, 1, labels)  # the last is wrong and may not appear
    found = compose(labels, predicted, seed=2)
    assert len(found.rows) == 8
    assert 8 not in found.rows
    assert all(len(set(labels[row])) == 4 for row in found.rows)
    assert (labels[found.rows[np.arange(8), found.quarter]] == found.targets).all()
    assert len(set(found.rows[np.arange(8), found.quarter].tolist())) == 8
    two = compose(np.array([0, 0, 1]), np.array([0, 0, 1]))
    assert all(
        (np.array([0, 0, 1])[row] == target).sum() == 1 for row, target in zip(two.rows, two.targets, strict=True)
    )
    assert len(compose(np.array([0, 0]), np.array([0, 0])).rows) == 0


def test_the_right_quarter_by_hand():
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 2, 3) / 4
    board = assemble(images, np.array([[3, 1, 0, 2]]))
    assert board.shape == (1, 3, 4, 6)
    assert board[0, 0, 0, 0] == 0.75
    assert board[0, 0, 0, 5] == 0.25
    assert board[0, 0, 3, 0] == 0
    assert quarter_share(board[:, 0], np.array([0])).tolist() == pytest.approx([0.75 / 1.5])
    assert quarter_share(board[:, 0], np.array([3])).tolist() == pytest.approx([0.5 / 1.5])
    assert np.isnan(quarter_share(torch.ones(1, 4, 6), np.array([0]))).all()
    assert quarter_share(-torch.rand(1, 4, 6), np.array([0])).tolist() == [0]  # without heat: a miss


@pytest.fixture(scope="module")
def planted():
    options = {
        "size": 32,
        "train": 1,
        "validation": 1,
        "test": 24,
        "prevalence": 0.6,
        "shortcuts": {"letter": {"finding": "Nodule"}},
    }
    return open_dataset("phantom", options=options)["test"]


def test_what_the_answer_hangs_on_is_measured_without_an_explanation(planted):
    """A network that adds up the pixels of the marker's corner hangs on the marker and not on the finding."""
    task = shortcut_task(
        FittedImages(planted, InputSpec.square(1, 32)), VisibleShortcut("letter", "Nodule"), planted.classes
    )
    corner = torch.zeros(8, 1, 32, 32)
    rows, columns = np.nonzero(task.marker.any(0))
    corner[:, 0, rows, columns] = 1.0
    clear = ~(task.finding & task.marker.any(0)).any((1, 2))
    effects = removal_effects(linear(corner), task.marked(torch.device("cpu")))
    assert clear.any()
    assert (effects["marker"] > 0).all()
    # filling the finding moves nothing in the corner, but for rounding of the sum
    assert np.abs(effects["finding"][clear]).max() < 1e-3
    assert (task.marker & ~task.finding).any((1, 2)).all()


def test_images_without_a_shortcut_are_refused(planted):
    plain = open_dataset("phantom", options={"size": 32, "train": 1, "validation": 1, "test": 2})["test"]
    with pytest.raises(InputError, match="no planted shortcut"):
        shortcut_task(FittedImages(plain, InputSpec.square(1, 32)), VisibleShortcut("letter", "Nodule"), plain.classes)
    with pytest.raises(InputError, match="Did you mean 'Nodule'"):
        shortcut_task(
            FittedImages(planted, InputSpec.square(1, 32)), VisibleShortcut("letter", "Nodul"), planted.classes
        )


def test_painting_over_leaves_one_colour_from_around():
    image = torch.full((1, 1, 20, 20), 0.3)
    mask = torch.zeros(1, 20, 20, dtype=torch.bool)
    mask[0, 5:9, 5:9] = True
    image[0, 0, 5:9, 5:9] = 1.0
    image[0, 0, 19, 19] = 0.9
    found = painted_over(image, mask)
    assert found[0, 0, 5:9, 5:9].unique().tolist() == pytest.approx([0.3])
    assert found[0, 0, 19, 19] == pytest.approx(0.9)
    assert painted_over(image, torch.ones_like(mask)).std() < 1e-6
