"""A classifier under Gaussian noise: the mean of its probabilities over fixed draws, differentiable in the image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.types import Classifier, InputSpec, Task


class SmoothedClassifier(nn.Module):
    """What a classifier says of an image on average under noise, as one more classifier.

    The same draws are added to every image in every call, so that it is a fixed function of the image, whatever else
    is in the batch: an attack can follow it. The noise is not clipped: noisy pixels leave [0, 1].

    Attributes:
        classifier: what is smoothed.
        sigma: standard deviation of the noise, on pixels in [0, 1].
        samples: how many draws.
        seed: of the draws.
        rows: noisy images that go through the network at a time. With more of them in a call, the gradient runs the
            network once more instead of keeping all activations.

    Raises:
        InputError: a standard deviation that is not above 0, no draw at all, thresholds of another number of labels
            or for a multiclass classifier.

    Source:
        Cohen et al. 2019, "Certified adversarial robustness via randomized smoothing", for the smoothed classifier;
        Salman et al. 2019, "Provably robust deep learning via adversarially trained smoothed classifiers", equation 6
        (SmoothAdv), for the gradient of the logarithm of the mean probability.

    Example:
        >>> from pellucid.models import create_model
        >>> net = create_model("small", classes=("a", "b"), task="multiclass", size=32).eval()
        >>> smoothed = SmoothedClassifier(net, sigma=0.25, samples=8)
        >>> images = torch.rand(2, 1, 32, 32)
        >>> smoothed(images).shape, bool((smoothed(images) == smoothed(images)).all())
        (torch.Size([2, 2]), True)
    """

    def __init__(
        self,
        classifier: nn.Module,
        sigma: float,
        samples: int = 16,
        seed: int = 0,
        *,
        thresholds: Sequence[float] | None = None,
        rows: int = 64,
    ) -> None:
        """Smooth a classifier; `thresholds` are the probabilities from which on a label is present.

        With thresholds a label's probability is that of its decision: ``sigmoid(logit − logit(threshold))``, a half
        at the threshold. A threshold that is no probability inside (0, 1) counts as a half.
        """
        super().__init__()
        check_sigma(sigma)
        if samples < 1 or rows < 1:
            raise InputError(f"samples and rows must be at least 1; found {samples} and {rows}.")
        contract = cast("Classifier", classifier)
        self.classifier = classifier
        self.task: Task = contract.task
        self.classes: tuple[str, ...] = contract.classes
        self.input_spec: InputSpec = contract.input_spec
        self.sigma, self.samples, self.seed, self.rows = float(sigma), samples, seed, rows
        self._shift: Tensor | None = None
        if thresholds is not None:
            if self.task != "multilabel" or len(thresholds) != len(self.classes):
                raise InputError(
                    f"thresholds are one per label of a multi-label classifier; found {len(thresholds)} for a "
                    f"{self.task} classifier of {len(self.classes)} classes."
                )
            cuts = torch.tensor(list(thresholds), dtype=torch.float64)
            self._shift = torch.where((cuts > 0) & (cuts < 1), cuts, 0.5).logit()

    def noise(self, images: Tensor) -> Tensor:
        """The draws (S, C, H, W) that are added to each of the images (N, C, H, W)."""
        generator = torch.Generator(images.device).manual_seed(self.seed)
        shape = (self.samples, *images.shape[1:])
        return self.sigma * torch.randn(shape, generator=generator, device=images.device, dtype=images.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to logits (N, K).

        Multiclass: the logarithm of the mean softmax probability. Multi-label: the log-odds of each label's mean
        sigmoid. The pixels' range is not checked here.
        """
        noise, count = self.noise(images), len(images) * self.samples
        parts = []
        for start in range(0, count, self.rows):
            place = torch.arange(start, min(start + self.rows, count), device=images.device)
            noisy = images[place // self.samples] + noise[place % self.samples]
            if count > self.rows and torch.is_grad_enabled():
                with set_checkpoint_early_stop(False):  # which is an exception that TorchScript does not let through
                    parts.append(cast("Tensor", checkpoint(self.classifier, noisy, use_reentrant=False)))
            else:
                parts.append(self.classifier(noisy))
        together = torch.cat(parts)
        logits = together.view(len(images), self.samples, together.shape[1])
        if self.task == "multiclass":
            return logits.log_softmax(2).logsumexp(1) - math.log(self.samples)
        if self._shift is not None:
            logits = logits - self._shift.to(logits)
        return logsigmoid(logits).logsumexp(1) - logsigmoid(-logits).logsumexp(1)


def check_sigma(sigma: float) -> None:
    """Refuse a standard deviation of the noise that is not above 0.

    Raises:
        InputError: with what was found.
    """
    if not (sigma > 0 and math.isfinite(sigma)):
        raise InputError(
            f"sigma, the standard deviation of the noise on pixels in [0, 1], must be above 0; found {sigma!r}. "
            "Take the noise that the network was trained with, as 0.25."
        )
