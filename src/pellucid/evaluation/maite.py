"""Models, datasets and measures behind the protocols of MAITE, the interface of JATIC's test tools.

A MAITE dataset gives (image, target, metadata), a model takes images and gives targets, a metric is shown both. Here an
image is float32 (C, H, W) in [0, 1] as the model takes it, a target float32 (K,): of a dataset ones and zeros (NaN
where a label is unknown), of a model probabilities. The package itself is not needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.data.torch_dataset import ImageDataset
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.classification import classification_table
from pellucid.evaluation.metrics.validation import one_hot
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches, probabilities
from pellucid.types import InputError, check_images, device_of
from pellucid.utils.resources import check_known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import AnyClassifier
    from pellucid.types import InputSpec, Task

    Vector = npt.NDArray[np.float32]

MEASURES: dict[str, tuple[str, ...]] = {
    "multiclass": ("accuracy", "balanced_accuracy", "auroc", "average_precision"),
    "multilabel": ("auroc", "average_precision"),
}
"""What `MaiteMetric` measures of a task."""


class MaiteModel:
    """A model as `maite.protocols.image_classification.Model`.

    Args:
        model: any model, as `pl.load` or `pl.wrap` gives it.
        batch_size: images at a time.

    Attributes:
        metadata: `id`, and `index2label`, the classes by number.

    Example:
        >>> from pellucid.models import create_model
        >>> model = MaiteModel(create_model("small", classes=["a", "b"], task="multiclass", size=32))
        >>> (probabilities,) = model([np.zeros((1, 32, 32), np.float32)])
        >>> probabilities.shape, float(probabilities.sum().round(5)), model.metadata["index2label"]
        ((2,), 1.0, {0: 'a', 1: 'b'})
    """

    def __init__(self, model: AnyClassifier, *, batch_size: int = 32) -> None:
        self.model, self.batch_size = model, batch_size
        source = None if model.source is None else model.source.address
        name = str(model.path or source or f"pellucid {type(model).__name__}")
        self.metadata: dict[str, Any] = {"id": name, "index2label": dict(enumerate(model.classes))}

    def __call__(self, batch_input: Sequence[npt.ArrayLike], /) -> list[Vector]:
        """Images (C, H, W) in [0, 1], of the model's size, to probabilities (K,).

        Raises:
            InputError: images of another size or number of channels, or that are not in [0, 1].
        """
        shape = self.model.input_spec.shape
        arrays = [np.asarray(image, dtype=np.float32) for image in batch_input]
        for array in arrays:
            if array.shape != shape:
                raise InputError(
                    f"the model takes images {shape}; found one {array.shape}. MaiteDataset(data, model.input_spec) "
                    "fits them."
                )
        vectors: list[Vector] = []
        with frozen(self.model), torch.inference_mode():
            for rows in in_batches(len(arrays), self.batch_size):
                images = torch.from_numpy(np.stack(arrays[rows])).to(device_of(self.model))
                check_images(images, channels=shape[0])
                logits = self.model(images).float().cpu().numpy()
                vectors += list(probabilities(logits, self.model.task).astype(np.float32))
        return vectors


class MaiteDataset:
    """One part of a dataset as `maite.protocols.image_classification.Dataset`.

    Args:
        dataset: as `pl.dataset` gives it, its classes those of the model.
        input_spec: how its images are fitted; a model's `input_spec`.

    Attributes:
        metadata: `id`, and `index2label`.
    """

    def __init__(self, dataset: Dataset, input_spec: InputSpec) -> None:
        self.dataset = dataset
        self._images = ImageDataset.of(dataset).resize(input_spec)
        self._truth = one_hot(dataset).astype(np.float32)
        name = f"{dataset.card.name}/{dataset.split}"
        self.metadata: dict[str, Any] = {"id": name, "index2label": dict(enumerate(dataset.classes))}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, ind: int, /) -> tuple[Vector, Vector, dict[str, Any]]:
        """The image (C, H, W), its target (K,), and its metadata: `id`, `patient`, and the data's own columns."""
        row = range(len(self))[ind]
        columns = {name: values[row] for name, values in self.dataset.metadata.items()}
        about = {**columns, "id": self.dataset.ids[row], "patient": self.dataset.patients[row]}
        return self._images[row][0].numpy(), self._truth[row], about


class MaiteMetric:
    """The figures of a classifier as `maite.protocols.image_classification.Metric`, with intervals over patients.

    Args:
        task: of the model.
        names: of `MEASURES`; all of the task by default.
        classes: their names; numbers by default.
        seed: of the bootstrap.

    Attributes:
        metadata: `id`.

    Example:
        >>> metric = MaiteMetric("multiclass", ["accuracy"])
        >>> metric.update([[0.9, 0.1], [0.2, 0.8]], [[1, 0], [1, 0]], [{"id": 0}, {"id": 1}])
        >>> metric.compute()["accuracy"]
        0.5
    """

    def __init__(
        self,
        task: Task = "multiclass",
        names: Sequence[str] | None = None,
        *,
        classes: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        self.task, self.classes, self.seed = task, classes, seed
        if task not in MEASURES:
            raise InputError(f"a task is multiclass or multilabel; found {task!r}.")
        self.names = tuple(MEASURES[task] if names is None else check_known(names, MEASURES[task], "measure"))
        self.metadata: dict[str, Any] = {"id": f"pellucid {', '.join(self.names)}"}
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._probabilities: list[npt.NDArray[np.float64]] = []
        self._targets: list[npt.NDArray[np.float64]] = []
        self._people: list[str] = []

    def update(
        self,
        pred_batch: Sequence[npt.ArrayLike],
        target_batch: Sequence[npt.ArrayLike],
        metadata_batch: Sequence[Mapping[str, Any]],
        /,
    ) -> None:
        """Take in probabilities (K,), targets (K,), and metadata, whose `patient` or else `id` says whose they are.

        Raises:
            InputError: batches of different lengths, or for other numbers of classes; probabilities outside [0, 1];
                targets that are not ones and zeros (NaN where a label is unknown), of exclusive classes with a single
                one; nothing of the batch is taken in then.
        """
        if not len(pred_batch) == len(target_batch) == len(metadata_batch):
            counts = ", ".join(str(len(part)) for part in (pred_batch, target_batch, metadata_batch))
            raise InputError(f"as many predictions, targets and metadata are needed; found {counts}.")
        probabilities, targets = (
            [np.asarray(v, dtype=np.float64) for v in batch] for batch in (pred_batch, target_batch)
        )
        people = [str(about["patient"] if "patient" in about else about["id"]) for about in metadata_batch]
        shapes = {vector.shape for vector in (*self._probabilities[:1], *probabilities, *targets)}
        shapes |= set() if self.classes is None else {(len(self.classes),)}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise InputError(
                f"one number is needed for each class; found shapes {', '.join(map(str, sorted(shapes)))}."
            )
        for vector in probabilities:
            if ((vector < 0) | (vector > 1)).any():
                raise InputError(f"probabilities in [0, 1] are needed; found {vector.tolist()[:5]}.")
        for vector in targets:
            is_one = vector == 1
            single = is_one.sum() == 1 and not np.isnan(vector).any()
            if not (is_one | (vector == 0) | np.isnan(vector)).all() or not (single or self.task == "multilabel"):
                which = "a single one" if self.task == "multiclass" else "NaN where a label is unknown"
                raise InputError(f"targets are ones and zeros, with {which}; found {vector.tolist()[:5]}.")
        self._probabilities += probabilities
        self._targets += targets
        self._people += people

    def compute(self) -> dict[str, Any]:
        """Each figure by name, the mean over the classes, with its 95 % interval.

        Returns:
            `NAME`, `NAME_low`, `NAME_high`, `NAME_n`, and where something is undefined or left out `NAME_reason`.

        Raises:
            InputError: nothing was taken in.
        """
        if not self._probabilities:
            raise InputError("nothing was measured yet: call update first.")
        probabilities, truth = np.stack(self._probabilities), np.stack(self._targets)
        with np.errstate(divide="ignore"):
            logits = (
                np.log(probabilities) if self.task == "multiclass" else np.log(probabilities) - np.log1p(-probabilities)
            )
        logits = np.where(np.isnan(probabilities), np.nan, np.clip(logits, -1e4, 1e4))  # of a probability of 0 or 1
        targets = truth.argmax(1) if self.task == "multiclass" else truth
        classes = self.classes or [str(k) for k in range(probabilities.shape[1])]
        table = classification_table(logits, targets, classes, self.task, Bootstrap(self._people, seed=self.seed))
        figures: dict[str, Any] = {}
        for name in self.names:
            estimate = table["mean"][name].estimate()
            figures |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
            figures[f"{name}_n"] = estimate.n
            if estimate.reason:
                figures[f"{name}_reason"] = estimate.reason
        return figures
