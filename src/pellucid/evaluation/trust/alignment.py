"""Alignment: does the gradient of the answer look like the image?"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.types import check_images

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.types import Classifier


class Alignment(NamedTuple):
    """Of each image.

    Attributes:
        alpha: float64 (N,), ``|⟨x, g⟩| / ‖g‖``, in units of the image; NaN where the gradient is 0.
        cosine: float64 (N,) in [0, 1], the same of the image less its mean, over that one's length: what is left when
            brightness is not counted. NaN where the gradient is 0 or the image is of one colour.
    """

    alpha: Tensor
    cosine: Tensor


def alignment(classifier: Classifier, images: Tensor, targets: Tensor, *, batch_size: int = 16) -> Alignment:
    """Etmann et al.'s alignment of image x and gradient ``g = ∂f_target/∂x`` of the logit; one backward pass per image.

    For a linear network through 0, α is the distance to the decision boundary: alignment and robustness are one there.

    Args:
        classifier: any.
        images: (N, C, H, W) in [0, 1].
        targets: int64 (N,); Etmann et al. take the class decided for.
        batch_size: images at a time.

    Raises:
        InputError: images that are not pixels in [0, 1].

    Source:
        Etmann et al. 2019, arXiv 1905.04172, definition 2.
    """
    check_images(images, channels=classifier.input_spec.channels)
    alphas, cosines = [images.new_zeros(0).double()], [images.new_zeros(0).double()]
    for rows in in_batches(len(images), batch_size):
        with frozen(classifier), torch.enable_grad():
            pixels = images[rows].detach().clone().requires_grad_(True)
            score = classifier(pixels).gather(1, targets[rows][:, None]).sum()
            gradient = torch.autograd.grad(score, pixels)[0].double().flatten(1)
        image = images[rows].double().flatten(1)
        size = gradient.norm(dim=1)
        alphas.append(((image * gradient).sum(1).abs() / size).masked_fill(size == 0, torch.nan))
        shape = image - image.mean(1, keepdim=True)
        length = shape.norm(dim=1)
        flat = (length <= 1e-9 * image.norm(dim=1)) | (size == 0)  # rounding leaves a little of one colour
        cosines.append(((shape * gradient).sum(1).abs() / (size * length)).masked_fill(flat, torch.nan))
    return Alignment(torch.cat(alphas).cpu(), torch.cat(cosines).cpu())
