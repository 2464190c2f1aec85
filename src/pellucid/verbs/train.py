"""`pl.train` and `pellucid train`: one model after a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.annotations.loading import load_annotations
from pellucid.data.dataset import Dataset, get_split
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.models.weights import load_trained
from pellucid.training import load_recipe
from pellucid.training import train as run_training
from pellucid.training.network import refuse_of_model, starting_from
from pellucid.training.recipe import fitted_by
from pellucid.types import InputError
from pellucid.utils.resources import write_json
from pellucid.utils.result import Result, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.training.run import RunFolder

COLUMNS = ("epoch", "loss", "validation_auroc", "validation_accuracy", "seconds")


@dataclass(frozen=True, eq=False)
class Training(Result):
    """A run folder and how the training went.

    Attributes:
        run: the folder.
        recipe: its name.
        data: the dataset's name.
    """

    name: ClassVar[str] = "metrics"
    run: RunFolder
    recipe: str
    data: str

    @property
    def path(self) -> Path:
        """The run folder, which `pl.load` and every command take."""
        return self.run.path

    def load(self, device: str = "cpu") -> ConvolutionalClassifier:
        """The model of the epoch that was chosen."""
        return load_trained(self.path, device)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One record per epoch."""
        return self.run.metrics()

    @property
    def learned(self) -> str | None:
        """What was learned from people's marks; None where there were none."""
        learned = self.run.read().get("annotations")
        if learned is None:
            return None
        return (
            f"learned from {learned['images']} annotated images, {learned['marked_images']} of them marked: "
            f"{learned['relevant']} relevant and {learned['irrelevant']} irrelevant regions; "
            f"{learned['labels_changed']} labels corrected"
        )

    def to_json(self) -> dict[str, Any]:
        """What run.toml says, and the epochs."""
        return self.run.read() | {"rows": self.rows}

    def tables(self) -> list[Table]:
        """A row for each epoch."""
        rows = self.rows
        columns = [c for c in COLUMNS if rows and c in rows[-1]]
        return [Table(f"{self.recipe} on {self.data}", columns, [[_cell(r.get(c)) for c in columns] for r in rows])]

    def save(self, folder: str | Path) -> list[Path]:
        """Write metrics.json, the epochs; the model lies in the run folder already."""
        from pathlib import Path

        write_json(Path(folder) / "metrics.json", self.rows)
        return [self.path / "weights.safetensors"]


def train(
    recipe: str | Path,
    data: Dataset | Mapping[str, Dataset],
    out: str | Path,
    *,
    validation: Dataset | None = None,
    overrides: Sequence[str] = (),
    preprocess: str | None = None,
    init: Path | None = None,
    annotations: str | None = None,
    resume: bool = False,
    wait: bool = False,
    seed: int = 0,
    device: str = "auto",
    limit: int | None = None,
    cache: Path | None = None,
) -> Training:
    """Train one model; the recipe says by which validation metric the checkpoint is chosen.

    Args:
        recipe: its name or TOML file.
        data: the parts of a dataset by name, as `pl.dataset` gives them; or the training part, with `validation`.
        out: the run folder.
        validation: the part that chooses the checkpoint, where `data` is the training part alone.
        overrides: values of the recipe, as ``"training.epochs=3"``.
        preprocess: how images are fitted, in place of the recipe's size, as ``crop:256:224:bicubic``.
        init: fine-tune this trained model instead of starting afresh.
        annotations: learn from what people marked: a database of `pellucid annotate serve`.
        resume: go on with an interrupted run.
        wait: for another process that trains in `out`; it is refused otherwise.
        seed: of initialisation, order, augmentation and attacks.
        device: `auto`, `cpu`, `cuda` or `mps`.
        limit: at most so many images of each part.
        cache: keep decoded images in this folder.

    Raises:
        InputError: a recipe or data that cannot be; a run that is there already.
    """
    from pathlib import Path

    settings = load_recipe(str(recipe), overrides, fine_tuning=init is not None)
    if preprocess is not None:
        settings = fitted_by(settings, preprocess)
    if init is not None:
        refuse_of_model([*overrides, *(["model.geometry"] if preprocess else [])])
        settings = starting_from(settings, init)
    whole, judged = _parts(data, validation)
    run = run_training(
        settings,
        whole.limit(limit),
        judged.limit(limit),
        Path(out),
        scorer=ValidationScorer(),
        seed=seed,
        device=device,
        resume=resume,
        cache=cache,
        wait=wait,
        annotations=None if annotations is None else load_annotations(annotations, whole),
    )
    return Training(run, settings.name, whole.card.name)


def _parts(data: Dataset | Mapping[str, Dataset], validation: Dataset | None) -> tuple[Dataset, Dataset]:
    if not isinstance(data, Dataset):
        return get_split(data, "train"), validation or get_split(data, "validation")
    if validation is None:
        raise InputError(
            "a training needs images that choose its checkpoint: give validation=, or all parts of a dataset, as "
            'pl.dataset("phantom") without split= gives them.'
        )
    return data, validation


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "undefined" if value is None else str(value)
