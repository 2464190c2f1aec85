"""`pellucid models`: which networks there are, what one is, and bringing one that was trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.cli import options
from pellucid.cli.output import show, wrote
from pellucid.cli.session import alone_in_out, key_values

if TYPE_CHECKING:
    from pellucid.models.classifier import AnyClassifier

MOST_CLASSES = 40
"""More classes are not printed one by one."""

app = typer.Typer(no_args_is_help=True, help="Which networks there are, what one is, and bringing your own.")


@app.command("list")
def list_models() -> None:
    """The networks that a recipe can name, with their options.

    Example: `pellucid models list`
    """
    from pellucid.models.registry import describe, model_names

    for name in model_names():
        entry = describe(name)
        typer.secho(name, bold=True)
        typer.echo(f"  {entry.title}")
        options = ", ".join(f"{k}={v!r}" for k, v in entry.options.items())
        typer.echo(f"  options: {options or 'none'}; made for images of {entry.size} pixels")
        if entry.published is not None:
            typer.echo(f"  model.pretrained=true loads {entry.published.title}")
        if entry.citation:
            typer.echo(f"  cite: {entry.citation}")


@app.command("show")
def show_model(
    model: options.Model,
    json: Annotated[bool | None, typer.Option("--json", help="The card as JSON.")] = None,
    trust_code: options.TrustCode = False,
) -> None:
    """A network: what it tells apart, where it comes from or how it was trained, its thresholds.

    Example: `pellucid models show runs/first`
    """
    import json as codec

    from pellucid.models import load_model
    from pellucid.models.weights import read_model_card
    from pellucid.utils.resources import finite

    if json and model.exists():
        typer.echo(codec.dumps(finite(read_model_card(model)), indent=2))
        return
    network = load_model(model, trust_code=trust_code)
    card = dict(network.card)
    if json:
        typer.echo(codec.dumps(finite(card), indent=2))
        return
    facts = _what(network)
    facts += [
        [key, str(card[key])]
        for key in ("recipe", "data", "loss", "seed", "epoch", "selected_by", "score")
        if key in card
    ]
    facts += _origin(card)
    facts += _training(card)
    show(str(model), ["", "value"], facts)
    columns = [k for k in ("thresholds", "label_frequencies", "best_constant") if k in card]
    rows = [[name, *(f"{card[k][i]:.4f}" for k in columns)] for i, name in enumerate(network.classes[:MOST_CLASSES])]
    show("classes", ["class", *columns], rows)
    if len(network.classes) > MOST_CLASSES:
        typer.echo(f"and {len(network.classes) - MOST_CLASSES:,} more; --json has them all")


@app.command("import")
@alone_in_out
def import_model(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="python, timm, torchvision, huggingface, torchxrayvision, onnx or torchscript; imagenet for "
            "Pellucid's own networks with their published weights; or woods2019 for those of Woods et al. 2019.",
        ),
    ],
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The network as its source calls it: FILE.py:FUNCTION, resnet50.a1_in1k, resnet50.IMAGENET1K_V1, a "
            "folder with config.json, densenet121-res224-all, FILE.onnx; efficientnet-lite0; of woods2019 the file.",
        ),
    ],
    out: options.Out,
    weights: Annotated[
        Path | None, typer.Option(help="A file with the weights; without it the source's own are used.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,… or FILE",
            help="A name for each output, in their order: separated by commas, or a text file with one a line.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="multiclass: one class per image. multilabel: several at once, each with its own sigmoid."),
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="FIT[:RESIZE]:SIZE[:INTERPOLATION]",
            help="How an image becomes what the network takes. crop:256:224:bicubic resizes the shorter side to 256 "
            "and cuts 224 × 224 out of the middle; stretch:224 changes both sides; pad:320x256 keeps the whole image.",
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            help="What is subtracted from pixels in [0, 1], one value for each channel. ImageNet: 0.485,0.456,0.406; 0 "
            "where the network normalises by itself."
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            help="What they are divided by then. ImageNet: 0.229,0.224,0.225; 1 where the network normalises by itself."
        ),
    ] = None,
    outputs: Annotated[
        str | None, typer.Option(help="logits, or probabilities where the network ends in a softmax or sigmoid.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="For the function or library that builds the network.")
    ] = None,
) -> None:
    """Bring a network that was trained elsewhere: as a model folder that every command takes.

    Weights are read from .safetensors, .pt, .pth and .ckpt files without running code in them; weights inside a
    checkpoint, and what DataParallel, torch.compile or Lightning put before their names, are found. What a source does
    not say itself (classes, preprocessing, normalisation) is asked for. The network is tried on a few images and built
    again from what was written before it is taken. With SOURCE python your file is run and copied into the folder; from
    there it runs only with --trust-code.

    Examples:
    `pellucid models import python mymodel.py:build --weights best.ckpt --classes NORMAL,PNEUMONIA
    --preprocess crop:256:224:bicubic --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --out models/mine`

    `pellucid models import timm resnet50.a1_in1k --out models/r50`

    `pellucid models import huggingface folder/of/my-vit --out models/vit`
    """
    from pellucid.models.sources.importing import FORMATS, import_network, import_published
    from pellucid.models.sources.opening import Given
    from pellucid.models.sources.registry import SOURCES
    from pellucid.models.weights import CARD, WEIGHTS
    from pellucid.types import InputError
    from pellucid.utils.resources import nearest

    if source not in SOURCES and source not in FORMATS:
        raise InputError(f"unknown source {source!r}. {nearest(source, [*SOURCES, *FORMATS])}")
    overrides = Given(
        weights,
        None if classes is None else _names(classes),
        task,  # type: ignore[arg-type]  # it is looked at there
        preprocess,
        _numbers(mean, "--mean"),
        _numbers(std, "--std"),
        outputs,  # type: ignore[arg-type]
        key_values(option),
    )
    if source in FORMATS and overrides != Given():
        raise InputError(f"{source} says all of its networks itself: it takes NAME and --out alone.")
    network = import_published(source, name, out) if source in FORMATS else import_network(source, name, out, overrides)
    card = dict(network.card)
    trained_on = [["trained on", str(card["data"])]] if "data" in card else []
    show(f"{source}: {name}", ["", "value"], _what(network) + trained_on + _origin(card))
    wrote(out / WEIGHTS)
    wrote(out / CARD)


@app.command("export")
def export(
    model: options.Model,
    out: Annotated[Path, typer.Option("--out", help="The file to write.", dir_okay=False)],
    form: Annotated[str, typer.Option("--format", help="onnx or torchscript.")] = "onnx",
    trust_code: options.TrustCode = False,
) -> None:
    """Write a model for other programs: pixels in [0, 1] to logits, with the normalisation inside.

    The file says as metadata how images are prepared, the classes and the thresholds; what it gives is compared with
    what the model gives here before it is written.

    Example: `pellucid models export runs/first --format onnx --out first.onnx`
    """
    from pellucid.models import load_model
    from pellucid.models.export import export_model

    wrote(export_model(load_model(model, trust_code=trust_code), out, form))  # type: ignore[arg-type]  # it looks itself


def _names(text: str) -> list[str]:
    """Names separated by commas, or those of a text file with one a line."""
    from pellucid.types import InputError
    from pellucid.utils.settings import split_names

    path = Path(text)
    if path.is_file():
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if not names:
            raise InputError(f"--classes: {path} names no class: write one a line, in the order of the outputs.")
        return names
    if path.suffix == ".txt":
        raise InputError(f"--classes: no file {path}.")
    return split_names(text)


def _numbers(text: str | None, option: str) -> list[float] | None:
    from pellucid.types import InputError

    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text!r}: expected numbers separated by commas, one for each channel.") from error


def _what(network: AnyClassifier) -> list[list[str]]:
    """What a network is: its source or architecture, its size, its images, its classes."""
    from pellucid.utils.words import first_of

    spec, source = network.input_spec, network.source
    if source is not None:
        facts = [["source", source.address]]
        facts += [["weights", f"{source.weights}, SHA-256 {source.weights_sha256[:12]}…"]] if source.weights else []
        facts += [["code", ", ".join(source.code)]] if source.code else []
    else:
        built = network.architecture
        facts = [["architecture", "" if built is None else f"{built.name} {dict(built.options)}"]]
    mean, std = (", ".join(f"{v:.4g}" for v in t.flatten().tolist()) for t in (network.mean, network.std))
    facts += [
        ["parameters", f"{sum(p.numel() for p in network.parameters()):,}"],
        ["images", f"{' × '.join(map(str, spec.shape))}, pixels in [0, 1]"],
        ["preprocessing", spec.preprocess],
        ["mean, std", f"{mean}; {std}"],
        ["task", network.task],
        ["classes", f"{len(network.classes):,}: {first_of(network.classes, 8)}"],
    ]
    if source is not None:
        facts.append(["outputs", str(network.card.get("outputs", {}).get("kind", "logits"))])
        last = getattr(network, "last_map", None)
        layer = "none found" if last is None else f"{last.layer} ({last.layout.name})"
        facts.append(["last feature map", f"{layer}, pooled by a linear layer" if network.has_linear_head else layer])
    return facts


def _training(card: dict[str, Any]) -> list[list[str]]:
    """What images it was trained and selected on, and how they were read."""
    from pellucid.models.training_record import TABLE

    record = card.get(TABLE)
    if record is None:
        return [["trained on", "not recorded"]]
    facts = []
    for stage in record["stages"]:
        options = " ".join(f"{key}={value}" for key, value in stage["options"].items())
        counts = f"{stage['train']['images']:,} images, selected on {stage['validation']['images']:,}"
        facts.append(["trained on", f"{stage['dataset']}: {counts}; {options}"])
        facts.append(["pixels", ", ".join(f"{key} = {value}" for key, value in stage["pixels"].items())])
    facts += [["not known", text] for text in record["unknown"]]
    return facts


def _origin(card: dict[str, Any]) -> list[list[str]]:
    """Where an imported network comes from and how its file says it was trained; nothing for one trained here."""
    imported = card.get("imported", {})
    facts = [[key, str(imported[key])] for key in ("source", "licence", "file", "citation") if key in imported]
    return facts + [[key.replace("_", " "), str(value)] for key, value in imported.get("training_options", {}).items()]
