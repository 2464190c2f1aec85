"""Networks of Hugging Face's transformers: a folder with `config.json`, or a name on the hub."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.models.sources.source import Built, Request, Source, class_names
from pellucid.types import Fit, Geometry, InputError, InputSpec, Interpolation
from pellucid.utils.resources import optional
from pellucid.utils.words import first_line, first_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from pellucid.types import Task

PROCESSOR = "preprocessor_config.json"
"""The file of a folder that says how images become what its network takes."""

_FILTERS: dict[int, Interpolation] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}
_NOT_BUILDING = ("id2label", "label2id", "architectures", "transformers_version", "_name_or_path", "dtype")
_PROBLEMS: dict[str, Task] = {
    "multi_label_classification": "multilabel",
    "single_label_classification": "multiclass",
}


def build(request: Request) -> Built:
    """A network of transformers, with the classes of its configuration and the images of its processor.

    Raises:
        InputError: transformers is missing, finds no configuration, would run the folder's own code, or has no weights
            for a part of the network, as the head of one that was never trained to classify.
    """
    transformers = optional("transformers", "huggingface", "a network of Hugging Face")
    place = request.name
    if not Path(place).is_dir() and not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", place):  # no name on the hub either
        raise InputError(f"no folder {place}: give one with config.json, or a name on the hub, as microsoft/resnet-18.")
    try:
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False, **request.options)
    except Exception as error:
        raise InputError(f"no configuration of transformers at {place}: {first_line(error)}") from error
    if getattr(config, "auto_map", None):
        raise InputError(
            f"{place} is a network of its own Python code, which is not run. Import it with the source python."
        )
    names = _names(config)
    if request.count is not None and request.count != config.num_labels:
        config.num_labels = request.count
        names = None
    if request.weights:
        module = _with_weights(transformers, place, config)
    else:
        module = _without_weights(transformers, config, place)
    spec, mean, std = _preparation(transformers, place, config)
    return Built(
        module,
        options={"config": json.dumps(_plain(config), sort_keys=True)},
        classes=names,
        task=_task(config),
        input_spec=spec,
        mean=mean,
        std=std,
        loaded=request.weights,
    )


def read_config(module: nn.Module, processor: Any = None) -> Built:  # noqa: ANN401
    """What a network of transformers says of itself in its `config`, and its image processor of its images.

    Without a processor that of the local folder that the network was loaded from, where there is one.
    """
    config: Any = module.config
    spec, mean, std = None, None, None
    folder = str(getattr(config, "_name_or_path", None) or "")
    if processor is not None:
        spec, mean, std = read_processor(processor, _channels(config))
    elif folder and (Path(folder) / PROCESSOR).is_file():
        spec, mean, std = _preparation(optional("transformers", "huggingface", "its processor"), folder, config)
    return Built(module, classes=_names(config), task=_task(config), input_spec=spec, mean=mean, std=std)


def rebuild(source: Source, _folder: Path) -> nn.Module:
    """The module of a card, without weights."""
    transformers = optional("transformers", "huggingface", "a network of Hugging Face")
    values = json.loads(source.options["config"])
    config = transformers.CONFIG_MAPPING[values["model_type"]].from_dict(values)
    return _without_weights(transformers, config, source.name)


def _without_weights(transformers: Any, config: Any, place: str) -> nn.Module:  # noqa: ANN401
    try:
        module: nn.Module = transformers.AutoModelForImageClassification.from_config(
            config, trust_remote_code=False
        ).float()
    except ValueError as error:
        raise InputError(f"{place} is no image classifier of transformers: {first_line(error)}") from error
    return module


def _with_weights(transformers: Any, place: str, config: Any) -> nn.Module:  # noqa: ANN401
    logging = transformers.utils.logging
    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # it warns of what is an error below
    if os.environ.get("PELLUCID_PROGRESS") == "0":
        logging.disable_progress_bar()
    module: nn.Module
    try:
        module, loaded = transformers.AutoModelForImageClassification.from_pretrained(
            place, config=config, dtype="float32", output_loading_info=True, trust_remote_code=False
        )
    except Exception as error:  # of a damaged file, another network, or of what lies between here and the hub
        raise InputError(f"transformers could not load {place}: {first_line(error)}") from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    lacking = sorted(map(str, loaded["missing_keys"])) + sorted(str(key) for key in loaded["mismatched_keys"])
    if lacking:
        raise InputError(
            f"{place} has no weights for {len(lacking)} parts of an image classifier, which would be left to chance: "
            f"{first_of(lacking)}. It was not trained to classify, or is another network."
        )
    return module


def _task(config: Any) -> Task | None:  # noqa: ANN401
    return "multiclass" if config.problem_type is None else _PROBLEMS.get(config.problem_type)


def _channels(config: Any) -> int:  # noqa: ANN401
    return int(getattr(config, "num_channels", 3))


def _names(config: Any) -> tuple[str, ...] | None:  # noqa: ANN401
    """The classes that the configuration names; None where these are only LABEL_0, LABEL_1 and so on."""
    names = [str(config.id2label[k]) for k in range(config.num_labels)]
    return None if names == [f"LABEL_{k}" for k in range(len(names))] else class_names(names)


def _plain(config: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a configuration has beside its defaults, without names of classes, which the card has itself."""
    values = json.loads(config.to_json_string(use_diff=True))
    building = {key: value for key, value in values.items() if key not in _NOT_BUILDING}
    return {**building, "model_type": config.model_type, "num_labels": config.num_labels}


def _preparation(
    transformers: Any,  # noqa: ANN401
    place: str,
    config: Any,  # noqa: ANN401
) -> tuple[InputSpec | None, list[float] | None, list[float] | None]:
    """Images and normalisation of the folder's image processor; None where there is none, or one that is not known."""
    logging = transformers.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(place, trust_remote_code=False)
    except Exception:  # no preprocessor_config.json: asked for by name later
        return None, None, None
    finally:
        logging.set_verbosity(level)
    return read_processor(processor, _channels(config))


def read_processor(
    processor: Any,  # noqa: ANN401
    channels: int = 3,
) -> tuple[InputSpec | None, list[float] | None, list[float] | None]:
    """The images and the normalisation of an image processor of transformers.

    Args:
        processor: as `AutoImageProcessor` gives it.
        channels: of the network.

    Returns:
        The images, None where the processor prepares them in a way that Pellucid does not know; mean and standard
        deviation for pixels in [0, 1].
    """
    settings = processor.to_dict()
    count = len(settings.get("image_mean") or [0.0] * channels)
    # pixels in [0, 1] times 255 times the factor, less the mean, by the standard deviation
    scale = 255 * settings["rescale_factor"] if settings.get("do_rescale") else 255.0
    normalises = settings.get("do_normalize")
    mean = [value / scale for value in settings["image_mean"]] if normalises else [0.0] * count
    std = [value / scale for value in settings["image_std"]] if normalises else [1 / scale] * count
    return _geometry(processor, settings, channels), mean, std


def _geometry(processor: Any, settings: Mapping[str, Any], channels: int) -> InputSpec | None:  # noqa: ANN401
    """How a processor brings images to the network's size; None where that is no stretch, crop or both.

    Neither is a crop larger than the image that it is cut out of, round which transformers puts black.
    """
    own = any("resize" in vars(kind) or "center_crop" in vars(kind) for kind in _own_kinds(processor))
    convnext = type(processor).__name__.startswith("ConvNext")
    fitted = _of_convnext(settings) if convnext else None if own else _of_most(settings)
    if fitted is None or not settings.get("do_resize") or settings.get("do_pad"):
        return None
    fit, resize, height, width = fitted
    if resize is not None and resize < max(height, width):
        return None
    # transformers cuts off the smaller half first where an odd number of pixels goes
    geometry = Geometry(fit, resize, _FILTERS[int(settings["resample"])], offset="floor")
    return InputSpec(channels, height, width, geometry)


_Fitted = tuple[Fit, int | None, int, int]


def _of_most(settings: Mapping[str, Any]) -> _Fitted | None:
    """Fit, resize, height and width of a processor with the resize and the crop that most have."""
    size = settings["size"]
    crop = settings.get("crop_size") if settings.get("do_center_crop") else None
    if set(size) == {"height", "width"}:
        if crop in (None, size):
            return "stretch", None, size["height"], size["width"]
        return ("stretch", size["height"], crop["height"], crop["width"]) if size["height"] == size["width"] else None
    if set(size) == {"shortest_edge"} and crop is not None:
        return "crop", size["shortest_edge"], crop["height"], crop["width"]
    return None


def _of_convnext(settings: Mapping[str, Any]) -> _Fitted | None:
    """The same of ConvNeXT's processor, which stretches large images and crops small ones."""
    side = settings["size"].get("shortest_edge")
    if side is None or settings.get("do_center_crop"):
        return None
    return ("stretch", None, side, side) if side >= 384 else ("crop", int(side / settings["crop_pct"]), side, side)


def _own_kinds(processor: Any) -> list[type]:  # noqa: ANN401
    """The classes of a processor that are its own and not those that all processors share."""
    return [kind for kind in type(processor).__mro__ if ".models." in kind.__module__]
