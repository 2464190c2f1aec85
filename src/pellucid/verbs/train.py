"""`pl.train` and `pellucid train`: one model after a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from pellucid.annotations.loading import load_annotations
from pellucid.annotations.records import AnnotationSet
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.class_match import match_classes
from pellucid.data.dataset import Dataset, get_split
from pellucid.evaluation.discovery.results import Discovery
from pellucid.evaluation.discovery.showing import check_same_data, check_same_network, images_showing
from pellucid.evaluation.discovery.suspect_marks import markable, marks_on, saved_boxes
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.models.classifier import WrappedClassifier
from pellucid.models.weights import load_model, read_model_card
from pellucid.report.charts import figures as charts
from pellucid.report.charts.drawing import write_charts
from pellucid.report.tables.results_index import ResultsIndex
from pellucid.training import load_recipe
from pellucid.training import train as run_training
from pellucid.training.fine_tuning import recipe_for
from pellucid.training.network import refuse_of_model, starting_from
from pellucid.training.recipe import fitted_by, with_fitting_loss
from pellucid.training.trackers import PROJECT, check_tracker
from pellucid.types import InputError
from pellucid.utils.devices import pick_device
from pellucid.utils.result import Result, Table
from pellucid.verbs.session import check_model, check_part, kind_of, results_key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pellucid.models.classifier import AnyClassifier
    from pellucid.training.run import RunFolder

COLUMNS = ("epoch", "loss", "validation_auroc", "validation_accuracy", "seconds")


@dataclass(frozen=True, eq=False, repr=False)
class Training(Result):
    """A run folder, in which the model lies already, and how the training went.

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

    def load(self, device: str = "cpu", *, trust_code: bool = False) -> AnyClassifier:
        """The model of the epoch that was chosen; see `pl.load` for `trust_code`."""
        return load_model(self.path, device, trust_code=trust_code)

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

    @property
    def penalty_method(self) -> str | None:
        """How the gradient penalty was computed, and why so; None without one."""
        method = self.run.read().get("penalty_method")
        return None if method is None else f"gradient penalty: {method['name']}; {method['reason']}"

    def to_json(self) -> dict[str, Any]:
        """What run.toml says, and the epochs."""
        return self.run.read() | {"rows": self.rows}

    def tables(self) -> list[Table]:
        """A row for each epoch; under them how the penalty was computed, and what was learned from marks."""
        rows = self.rows
        columns = [c for c in COLUMNS if rows and c in rows[-1]]
        cells = [[_cell(row.get(c)) for c in columns] for row in rows]
        notes = [text for text in (self.penalty_method, self.learned) if text is not None]
        return [Table(f"{self.recipe} on {self.data}", columns, cells, notes)]

    def draw(self, folder: Path) -> dict[Path, str]:
        """Losses and scores by epoch, the chosen one marked."""
        run = {"history": self.rows, "best_epoch": read_model_card(self.path).get("epoch")}
        variant = {"label": self.recipe, "reference": True, "runs": [run]}
        return write_charts(charts.training(ResultsIndex({"variants": [variant], "rows": []})), folder)


def train(
    recipe: str | Path,
    data: Dataset | Mapping[str, Dataset],
    out: str | Path,
    *,
    validation: Dataset | None = None,
    overrides: Sequence[str] = (),
    preprocess: str | None = None,
    init: Path | str | AnyClassifier | None = None,
    trust_code: bool = False,
    annotations: str | None = None,
    suspects: str | Path | None = None,
    only: Sequence[int] | None = None,
    announce: Callable[[str], None] | None = None,
    resume: bool = False,
    wait: bool = False,
    seed: int = 0,
    device: str = "auto",
    limit: int | None = None,
    cache: Path | None = None,
    log: str | None = None,
) -> Training:
    """Train one model; the recipe says by which validation metric the checkpoint is chosen.

    Args:
        recipe: its name or TOML file.
        data: the parts of a dataset by name, as `pl.dataset` gives them; or the training part, with `validation`.
        out: the run folder.
        validation: the part that chooses the checkpoint, where `data` is the training part alone.
        overrides: values of the recipe, as ``"training.epochs=3"``.
        preprocess: how images are fitted, in place of the recipe's size, as ``crop:256:224:bicubic``.
        init: fine-tune this trained model instead of starting afresh: its folder, ``SOURCE:NAME``, or the model itself.
            Its head is replaced where the data have other classes; the same ones in any order keep it.
        trust_code: run the Python code that the folder of `init` brings; without it, such a folder is refused.
        annotations: learn from what people marked: a database of `pellucid annotate serve`.
        suspects: take away what `discover` found `init` to go by: its folder. Each suspect's region, as somebody marked
            it with ``annotate serve --suspect`` or as it was found, is irrelevant on all training images that show it.
        only: the numbers of those suspects that are meant; all that lie at a place otherwise.
        announce: is told what of the suspects is marked on how many images, before training begins.
        resume: go on with an interrupted run.
        wait: for another process that trains in `out`; it is refused otherwise.
        seed: of initialisation, order, augmentation and attacks.
        device: `auto`, `cpu`, `cuda` or `mps`.
        limit: at most so many images of each part.
        cache: keep decoded images in this folder.
        log: a tracker that gets the figures as well: `tensorboard`, `mlflow` or `wandb`.

    Raises:
        InputError: a recipe, a tracker or data that cannot be; suspects of another network or other data, that there
            are not, or that cannot be marked; a model that cannot be trained further, or not by this recipe; a run that
            is there already.

    Example:
        >>> import pellucid as pl
        >>> import tempfile
        >>> data = pl.dataset("phantom", size=32, train=8, validation=8, test=4, prevalence=0.5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     training = train("standard", data, f"{folder}/first", overrides=["model.size=32", "training.epochs=1"])
        ...     len(training.rows), pl.load(f"{folder}/first").classes == data["train"].classes
        (1, True)
    """
    if not isinstance(recipe, str | Path):
        raise InputError(f"the recipe comes first, by its name or TOML file; found {kind_of(recipe)}.")
    check_tracker(log, PROJECT)
    whole, judged = _parts(data, validation)
    if init is not None and not isinstance(init, str | Path):
        check_model(init, "the model to start from")
    settings = load_recipe(str(recipe), overrides, fine_tuning=init is not None)
    if preprocess is not None:
        settings = fitted_by(settings, preprocess)
    if settings.init and init is None:
        raise InputError(
            f"{settings.name} goes on from a network that {settings.init} trained: train that one first and name its "
            f"folder with --init (in Python: init=). A study trains both ({settings.name} as a variant's recipe)."
        )
    if suspects is not None and init is None:
        raise InputError("name the network that goes by the suspects with --init (in Python: init=).")
    if only is not None and suspects is None:
        raise InputError("--only chooses among suspects: name their folder with --suspects (in Python: suspects=).")
    if init is not None:
        refuse_of_model([*overrides, *(["model.geometry"] if preprocess else [])])
    start = None
    if init is not None:
        before = load_model(init, trust_code=trust_code) if isinstance(init, str | Path) else init
        if isinstance(before, WrappedClassifier):
            start, settings = before, recipe_for(settings, before)
        else:
            settings = starting_from(settings, init if isinstance(init, str | Path) else _place(init))
        if set(before.classes) == set(whole.classes) and before.task == whole.task:  # in any order
            whole, judged = (match_classes(part, before.classes, before.task)[0] for part in (whole, judged))
    settings = with_fitting_loss(settings, whole.task, overrides)
    people = None if annotations is None else load_annotations(annotations, whole)
    whole = whole.limit(limit)
    if suspects is not None and init is not None:
        network = load_model(init, pick_device(device), trust_code=trust_code) if isinstance(init, str | Path) else init
        people = _with_suspects(Path(suspects), only, network, whole, people, announce or (lambda _: None), cache)
    run = run_training(
        settings,
        whole,
        judged.limit(limit),
        Path(out),
        scorer=ValidationScorer(),
        seed=seed,
        device=device,
        resume=resume,
        cache=cache,
        wait=wait,
        annotations=people,
        start=start,
        log=log,
    )
    return Training(run, settings.name, whole.card.name)


def _with_suspects(
    folder: Path,
    only: Sequence[int] | None,
    network: AnyClassifier,
    whole: Dataset,
    people: AnnotationSet | None,
    announce: Callable[[str], None],
    cache: Path | None,
) -> AnnotationSet:
    """What people marked, and the suspects' regions on the training images that show them."""
    discovery = Discovery.load(folder)
    suspects = markable(discovery, only, str(folder))
    check_same_network(discovery, results_key_of(network))
    part, _ = match_classes(whole, network.classes, network.task)
    images = FittedImages(part, network.input_spec, cache)
    people = people or AnnotationSet()
    marks, sentences = list(people.marks), []
    for suspect in suspects:
        check_same_data(discovery, whole, suspect)
        showing = images_showing(suspect, discovery, images, network)
        marked = marks_on(suspect, showing, images, saved_boxes(folder, suspect.number))
        announce(marked.sentence)
        sentences.append(marked.sentence)
        marks += marked.marks
    if len(marks) == len(people.marks):
        raise InputError(f"none of the {len(whole):,} training images shows what was found: nothing can be marked.")
    return AnnotationSet(marks, people.verdicts, sentences)


def _place(model: AnyClassifier) -> Path:
    """The folder of one of Pellucid's own networks, whose weights are still those that it was loaded with."""
    if model.path is None:
        raise InputError("a network that lies in no folder cannot be fine-tuned: save_model(model, FOLDER) first.")
    stored = load_model(model.path).state_dict()
    if any(not torch.equal(stored[name], tensor.cpu()) for name, tensor in model.state_dict().items()):
        raise InputError(
            f"the weights are no longer those of {model.path}: save_model(model, FOLDER) first, and fine-tune that."
        )
    return model.path


def _parts(data: Dataset | Mapping[str, Dataset], validation: Dataset | None) -> tuple[Dataset, Dataset]:
    if isinstance(data, Mapping):
        whole, judged = get_split(data, "train"), validation or get_split(data, "validation")
        check_part(whole, "the training part")
        check_part(judged, "the validation part")
        return whole, judged
    check_part(data, "the data")
    if validation is None:
        raise InputError(
            "a training needs images that choose its checkpoint: give validation=, or all parts of a dataset, as "
            'pl.dataset("phantom") without split= gives them.'
        )
    check_part(validation, "the validation part")
    return data, validation


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "undefined" if value is None else str(value)
