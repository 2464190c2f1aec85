"""`pellucid models import`: a network that was trained elsewhere becomes a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.models.facts import origin, what_it_is
from pellucid.cli.output import show, wrote
from pellucid.cli.session import alone_in_out, key_values, names_or_file, numbers


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
            help="The network as its source calls it: FILE.py:FUNCTION, resnet50.a1_in1k, resnet50.IMAGENET1K_V1 "
            "(without what stands behind the point, the library's default weights), a folder with config.json, "
            "densenet121-res224-all, FILE.onnx; efficientnet-lite0; of woods2019 the file.",
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
            help="A name for each output, in their order: separated by commas, or a text file with one per line.",
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
    from pellucid.models.sources.importing import import_any
    from pellucid.models.sources.opening import Given
    from pellucid.models.weights import CARD, WEIGHTS

    overrides = Given(
        weights,
        None if classes is None else names_or_file(classes, "--classes"),
        task,  # type: ignore[arg-type]  # it is looked at there
        preprocess,
        None if mean is None else numbers(mean, "--mean"),
        None if std is None else numbers(std, "--std"),
        outputs,  # type: ignore[arg-type]
        key_values(option),
    )
    network = import_any(source, name, out, overrides)
    card = dict(network.card)
    trained_on = [["trained on", str(card["data"])]] if "data" in card else []
    show(f"{source}: {name}", ["", "value"], what_it_is(network) + trained_on + origin(card))
    wrote(out / WEIGHTS)
    wrote(out / CARD)
