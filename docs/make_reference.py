"""Write the reference tables of docs/*.md from the code's own settings; tests/test_documentation.py compares them.

A table stands between `<!-- reference: NAME -->` and `<!-- end -->`; whatever is between is replaced.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from pellucid.attacks import BoundedAttack, Epsilon
from pellucid.data.cache.shards import ShardOptions
from pellucid.data.readers.chestxray14.reader import ChestXray14Options
from pellucid.data.readers.cifar10.reader import Cifar10Options
from pellucid.data.readers.coco.reader import CocoOptions
from pellucid.data.readers.dicom.options import DicomOptions
from pellucid.data.readers.folder import FolderOptions
from pellucid.data.readers.imagenet import ImagenetOptions
from pellucid.data.readers.jsrt.reader import JsrtOptions
from pellucid.data.readers.medmnist.reader import MedMnistOptions
from pellucid.data.readers.phantom.options import PhantomOptions, PlantedShortcut, Reason
from pellucid.data.readers.table.options import TableOptions
from pellucid.study.config import StudyConfig
from pellucid.training.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

TABLES: dict[str, type[BaseModel]] = {
    "recipe": Recipe,
    "study": StudyConfig,
    "phantom": PhantomOptions,
    "shortcut": PlantedShortcut,
    "reason": Reason,
    "chestxray14": ChestXray14Options,
    "folder": FolderOptions,
    "shards": ShardOptions,
    "dicom": DicomOptions,
    "table": TableOptions,
    "cifar10": Cifar10Options,
    "imagenet": ImagenetOptions,
    "medmnist": MedMnistOptions,
    "coco": CocoOptions,
    "jsrt": JsrtOptions,
}

# What the field's own description, or its model's docstring, does not say.
MEANINGS = {
    "Recipe.name": "what the recipe is called in tables and run folders",
    "Recipe.title": "one line for reports",
    "Recipe.citation": "the paper it follows",
    "Recipe.notes": "what is ours and what is not known",
    "AttackSettings.size": "largest perturbation; exactly one of `linf`, `l2`, `rms`, a number above 0; for "
    "`woods2019-min` the length of the path",
    "AttackSettings.steps": "gradient steps; `fgsm` takes one",
    "RobustCheckSettings.size": "largest perturbation; as `objective.attack.size`",
    "RobustCheckSettings.steps": "gradient steps",
    "ObjectiveSettings.loss": "`auto` is the plain loss of the task",
    "OptimizerSettings.name": "SGD with momentum, or AdamW",
    "OptimizerSettings.lr": "the peak of the learning rate",
    "OptimizerSettings.weight_decay": "of what `decay` says",
    "ScheduleSettings.name": "what follows the warm-up",
    "TrainingSettings.epochs": "times that every training image is seen",
    "TrainingSettings.mixed_precision": "see [mixed precision](#mixed-precision)",
    "StudyConfig.name": "names its folder, `runs/NAME`",
    "StudyConfig.title": "the report's heading",
    "StudyConfig.description": "the report's first paragraphs",
    "StudyConfig.seeds": "every variant is trained once with each",
    "DataSettings.name": "a name of `pellucid data list`",
    "DataSettings.options": "the dataset's own options ([data.md](data.md))",
    "VariantSettings.recipe": "a bundled recipe, or a TOML file",
    "TargetSettings.name": "its name in tables and file names",
    "TargetSettings.title": "its heading in the report",
    "TargetSettings.limit": "at most so many annotated images, chosen at random",
    "AraSettings.kinds": "what is measured ([metrics.md](metrics.md#accuracy-robustness-area)); none, no attack",
    "EvaluationSettings.methods": "explanations that are scored",
    "TrustTableSettings.methods": "explanations that are judged ([trust.md](trust.md)); none, no table",
    "EvaluationSettings.resamples": "of the bootstrap over patients",
    "EvaluationSettings.batch_size": "images at a time",
    "Comparator.section": "where the figures stand",
    "Comparator.metric": "as in the study's own tables; of `ara` the kind, `attack` or `btr`",
    "Comparator.at": "the hit criterion, as `IoU > 0.1`",
    "Comparator.name": "who published them",
    "Comparator.note": "why they may not be comparable",
    "Comparator.values": "class → value; of `ara` network → area",
}


def table(model: type[BaseModel]) -> str:
    """The settings of a model as a Markdown table: key, default, allowed values, meaning."""
    lines = ["| key | default | values | meaning |", "|---|---|---|---|"]
    lines += [f"| `{key}` | {default} | {values} | {meaning} |" for key, default, values, meaning in rows(model)]
    return "\n".join(lines)


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """The settings of a model and of the sections in it, one row each."""
    said = attributes(model)
    for name, field in model.model_fields.items():
        inner, many = section(field.annotation)
        if inner is not None and not issubclass(inner, (Epsilon, PlantedShortcut, Reason)):
            yield from rows(inner, f"{prefix}{name}{'[]' if many else ''}.")
            continue
        meaning = MEANINGS.get(f"{model.__name__}.{name}") or field.description or said.get(name)
        if not meaning:
            raise SystemExit(f"{model.__name__}.{name} has no description: give its Field one, or add it to MEANINGS.")
        yield f"{prefix}{name}", default(field), values(field), in_prose(meaning)


def in_prose(meaning: str) -> str:
    """A description as a cell of the table; on the command line there is no None."""
    meaning = re.sub(r"[.;] None for\b", "; by default", meaning.replace("|", "\\|").rstrip("."))
    return re.sub(r"\bNone\b", "none", meaning)


def section(annotation: Any) -> tuple[type[BaseModel] | None, bool]:  # noqa: ANN401
    """The model that a field holds, if it holds one, and whether it holds several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for part in get_args(annotation):
        found, _ = section(part)
        if found is not None:
            return found, get_origin(annotation) is tuple
    return None, False


def default(field: FieldInfo) -> str:
    """A field's default as TOML would write it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "none" if value is None else f"`{toml(value)}`"


def toml(value: Any) -> str:  # noqa: ANN401
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, dict):
        inside = ", ".join(f"{k} = {toml(v)}" for k, v in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(toml(v) for v in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def values(field: FieldInfo) -> str:
    """What a field may be: choices, or its type and bounds."""
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{toml(choice)}`" for choice in get_args(annotation))
    parts = [part for part in (get_args(annotation) or (annotation,)) if part is not type(None)]
    if get_origin(annotation) in (tuple, dict):
        parts = [annotation]
    kind = " or ".join(in_words(part) for part in parts)
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [f"{sign} {getattr(m, k):g}" for m in field.metadata for k, sign in signs.items() if hasattr(m, k)]
    return f"{kind} {', '.join(bounds)}".strip()


def in_words(kind: Any) -> str:  # noqa: ANN401
    """A type's name for people."""
    if get_origin(kind) is dict:
        return "table"
    if get_origin(kind) is Annotated:
        return in_words(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return " or ".join(f"`{toml(choice)}`" for choice in get_args(kind))
    if get_origin(kind) is tuple:
        inner = in_words(get_args(kind)[0])
        return f"list of {inner}" if inner.endswith("`") else f"list of {inner}s"
    words: dict[Any, str] = {float: "number", int: "whole number", str: "text", bool: "`true`, `false`"}
    words |= {BoundedAttack: "attack", PlantedShortcut: "table", Reason: "table"}
    return words.get(kind, "size")


def attributes(model: type[BaseModel]) -> dict[str, str]:
    """The texts of `Attributes:` in the docstrings of a model and of those that it extends."""
    found: dict[str, str] = {}
    for one in model.__mro__[::-1]:
        found |= attributes_of(one.__doc__ or "")
    return found


def attributes_of(text: str) -> dict[str, str]:
    """The texts of a docstring's `Attributes:`."""
    _, _, listed = text.partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in listed.splitlines():
        if start := re.match(r" {8}(\w+): (.*)", line):
            name = start[1]
            found[name] = start[2]
        elif name and line.startswith(" " * 12):
            found[name] += " " + line.strip()
        else:
            break
    return found


def filled(text: str) -> str:
    """A page with its tables as the code has them now."""

    def fill(match: re.Match[str]) -> str:
        return f"<!-- reference: {match[1]} -->\n{table(TABLES[match[1]])}\n<!-- end -->"

    return re.sub(r"<!-- reference: (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


if __name__ == "__main__":
    for page in sorted(Path(__file__).parent.glob("*.md")):
        old = page.read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            print(f"{page.name}: tables written")
