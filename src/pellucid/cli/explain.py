"""`pellucid explain`: why a network answers as it does, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result
from pellucid.cli.session import alone_in_out, choices, given_images, key_values, load


@alone_in_out
def explain(
    model: options.Model,
    out: options.Out,
    images: options.GivenImages = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Separated by commas: {methods}. By default those of cam, grad-cam, saliency that fit the network."
        ),
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            help="Separated by commas: names; all; top3 for the three most probable; predicted; second for the most "
            "confident other class; true, for images of a dataset."
        ),
    ] = "top3",
    rho: Annotated[
        float | None,
        typer.Option(
            help="Adversarial: size of the change, root mean square per pixel in [0, 1]; 0.1, or 0.075 with heat maps."
        ),
    ] = None,
    direction: Annotated[str, typer.Option(help="Adversarial: raise or lower the class's confidence.")] = "raise",
    optimiser: Annotated[str, typer.Option(help="Adversarial: tight, or woods2019 as the paper has it.")] = "tight",
    slider: Annotated[
        int, typer.Option(min=0, help="Adversarial: put so many images on a page with a slider over rho.")
    ] = 1,
    layer: options.Layer = None,
    segments: Annotated[int | None, typer.Option(min=2, help="{segments}: about so many superpixels.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="{samples}: random variants of an image.")] = None,
    data: options.GivenData = None,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: options.Split = "test",
    identifier: Annotated[
        list[str] | None, typer.Option("--id", help="This image of the dataset; may be repeated.")
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "--format",
            help="dicom: also write each heat map, its regions and boxes and a picture as DICOM objects of the study "
            "that a DICOM file is of, as in `explain runs/first chest.dcm --format dicom --out explained`.",
        ),
    ] = "png",
    compare: Annotated[
        Path | None,
        typer.Option(
            help="Another model of the same classes, explained in rows under the first's.", show_default=False
        ),
    ] = None,
    limit: options.Limit = None,
    device: options.Device = "auto",
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
) -> None:
    """Explain images: for each a panel of classes × methods (PNG), maps and moved images as numbers, explain.json.

    Beside heat maps the method adversarial has two columns of the panel as well. It changes the image until the
    network is sure of a class, draws that beside the image with the difference, and writes slider.html, where the size
    of the change can be moved. boxes.csv has a row for each box around a hot region of a heat map that is coarse enough
    to have regions, in pixels of the file and in millimetres where that says how large a pixel is. With --compare
    panels, slider and page show both networks, and the folder compared has what belongs to the second alone.

    Example: `pellucid explain runs/first image.png --method cam,saliency --classes Mass,Nodule --out explained`
    """
    from pellucid.explainers import EXPLAINERS
    from pellucid.explainers.fitting import fitting_methods
    from pellucid.verbs.explain import explain as run

    names = None if method is None else choices(method, EXPLAINERS, "method")
    network = load(model, device, trust_code)
    result = run(
        methods=fitting_methods(network) if names is None else names,
        model=network,
        images=given_images(images, data, root, data_option, split),
        classes=classes,
        rho=rho,
        direction=direction,
        optimiser=optimiser,
        slider=slider,
        ids=identifier,
        limit=limit,
        file_options=key_values(data_option) if images else None,
        output=output,
        compare=None if compare is None else load(compare, device, trust_code),
        out=out,
        seed=seed,
        layer=layer,
        segments=segments,
        samples=samples,
    )
    show_result(result, out)
