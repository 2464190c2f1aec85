"""What the readers are fuzzed with: for each kind of file small ones that are whole, and how Pellucid reads them."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pydicom
import torch
from PIL import Image
from pyarrow.parquet import write_table
from pydicom import uid

from pellucid.annotations.files import export_annotations, import_annotations
from pellucid.annotations.records import LabelAnswer, Mark, Note, Visit
from pellucid.annotations.shapes import Brush, Polygon, Rectangle
from pellucid.annotations.store import open_store
from pellucid.data import check_dataset, open_dataset
from pellucid.data.cache.shards import write_shards
from pellucid.data.readers.cifar10.files import CLASSES
from pellucid.models import create_model, load_model, save_model
from pellucid.models.sources.checkpoint import read_tensors
from pellucid.models.weights import read_training_record
from pellucid.study import load_study
from pellucid.training.recipe import load_recipe
from pellucid.types import InputError, InputSpec

if TYPE_CHECKING:
    from collections.abc import Callable

PHANTOM = {"size": 32, "train": 12, "validation": 4, "test": 4}
SMALL: dict[str, Any] = {"widths": [4, 8], "blocks": [1, 1], "strides": [1, 2]}
SHAPE = (40, 36)


class ContradictionError(Exception):
    """A check said that nothing is wrong, and reading found something."""


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        make: writes whole files into an empty folder.
        read: reads all of the folder; gives what a check or a reader said of it, nothing where it was read whole.
        damaged: which of the files are damaged, as a pattern.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], list[str]]
    damaged: str = "**/*.*"


def dataset(name: str, **options: Any) -> Callable[[Path], list[str]]:
    """Checks a dataset, then opens it and reads every image."""

    def read(folder: Path) -> list[str]:
        root = None if name == "shards" else folder
        chosen = {**options, **({"url": str(folder)} if name == "shards" else {})}
        if "table" in options and name == "table":
            root = folder / chosen.pop("table")
        report = check_dataset(name, root, options=chosen, workers=1)
        report.to_json()
        said = [f"{remark.file}: {remark.reason}" for remark in report.problems]
        found = []
        try:
            for part in open_dataset(name, root, options=chosen).values():
                for index in range(len(part)):
                    try:
                        part.read(index)
                    except InputError as error:
                        found.append(str(error))
        except InputError as error:
            found.append(str(error))
        if found and not said:
            raise ContradictionError(found[0])
        return said

    return read


def reads(*readers: Callable[[Path], object]) -> Callable[[Path], list[str]]:
    """Calls each reader with the folder; gives what they refuse."""

    def read(folder: Path) -> list[str]:
        said = []
        for reader in readers:
            try:
                reader(folder)
            except InputError as error:
                said.append(str(error))
        return said

    return read


def pictures(*formats: tuple[str, str, dict[str, Any]]) -> Callable[[Path], None]:
    """A folder of two classes, with an image for each (suffix, mode, how it is saved) in both."""

    def make(folder: Path) -> None:
        rng = np.random.default_rng(0)
        for i, (suffix, mode, how) in enumerate(formats * 2):
            place = folder / ("cat" if i < len(formats) else "dog") / f"{i}{suffix}"
            place.parent.mkdir(exist_ok=True)
            picture(rng, mode).save(place, **how)

    return make


def picture(rng: np.random.Generator, mode: str = "L") -> Image.Image:
    """Random pixels in one of Pillow's modes."""
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, SHAPE, dtype=np.uint16))
    return Image.fromarray(rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)).convert(mode)


def turned() -> Image.Exif:
    """EXIF that says that the picture lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def make_dicom(folder: Path) -> None:
    """DICOM files in every encoding that can be written here, grey and colour, with a table of their classes."""
    lines = ["path,class,patient"]
    encodings = (
        uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless,
        uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEG2000Lossless,
    )  # fmt: skip
    for i, encoding in enumerate(encodings):
        write_dicom(folder / f"{i}.dcm", encoding, colour=i == 4, seed=i)
        lines.append(f"{i}.dcm,{'cat' if i % 2 else 'dog'},p{i}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def write_dicom(path: Path, encoding: str, *, colour: bool, seed: int) -> None:
    """One DICOM file of random pixels, 12 bits grey or 8 bits colour."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256 if colour else 4096, (*SHAPE, 3) if colour else SHAPE)
    values = values.astype(np.uint8 if colour else np.uint16)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    plain = "Deflated" in encoding.name or "Implicit" in encoding.name
    meta.TransferSyntaxUID = encoding if plain else uid.ExplicitVRLittleEndian
    image = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID = meta.MediaStorageSOPClassUID
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = uid.generate_uid(entropy_srcs=[str(seed)])
    image.StudyInstanceUID, image.PatientID, image.Modality = uid.generate_uid(entropy_srcs=["s"]), f"p{seed}", "DX"
    image.Rows, image.Columns = SHAPE
    image.SamplesPerPixel, image.PixelRepresentation = 3 if colour else 1, 0
    image.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        image.PlanarConfiguration = 0
    image.BitsAllocated = 8 * values.itemsize
    image.BitsStored = 8 if colour else 12
    image.HighBit = image.BitsStored - 1
    image.ImagerPixelSpacing = [0.2, 0.1]
    image.WindowCenter, image.WindowWidth = "2048", "4096"
    image.PixelData = values.tobytes()
    image["PixelData"].VR = "OB" if colour else "OW"
    if not plain and encoding != uid.ExplicitVRLittleEndian:
        image.compress(encoding, generate_instance_uid=False)
    image.save_as(path, enforce_file_format=True)


def make_table(folder: Path, *, parquet: bool = False) -> None:
    """Ten images, their table and its boxes; the tables as CSV or as Parquet."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for i in range(10):
        picture(rng).save(folder / "images" / f"{i}.png")
    labels = {
        "path": [f"images/{i}.png" for i in range(10)],
        "findings": ["Mass", "No Finding", "Mass|Nodule"] * 3 + ["Mass"],
        "patient": [i // 2 for i in range(10)],
        "split": ["train"] * 6 + ["test"] * 4,
    }  # fmt: skip
    boxes = {
        "path": ["images/0.png", "images/2.png"], "label": ["Mass", "Nodule"], "x": [1, 2.5], "y": [2, 3],
        "width": [8, 9.5], "height": [10, 4],
    }  # fmt: skip
    for name, columns in (("labels", labels), ("boxes", boxes)):
        if parquet:
            write_table(pa.table(columns), folder / f"{name}.parquet")
        else:
            lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
            (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def make_coco(folder: Path) -> None:
    """A small release of both parts, with boxes, outlines and a mask in run lengths."""
    (folder / "annotations").mkdir()
    rng = np.random.default_rng(0)
    height, width = SHAPE
    for part, first in (("val2017", 1), ("train2017", 11)):
        (folder / part).mkdir()
        images = [
            {"id": number, "file_name": f"{number:012d}.jpg", "width": width, "height": height}
            for number in range(first, first + 4)
        ]
        outlines: list[Any] = [
            [[1.0, 2.0, 9.0, 2.0, 9.0, 12.0]], {"size": [height, width], "counts": [40, 60, width * height - 100]},
            [[2.0, 2.0, 9.0, 2.0, 9.0, 12.0], [1.0, 1.0, 3.0, 1.0, 3.0, 3.0]],
        ]  # fmt: skip
        annotations = [
            {"id": first + i, "image_id": first + i, "category_id": 1 + i % 2, "bbox": [1.0, 2.0, 8.0, 10.0],
             "iscrowd": int(i == 1), "area": 80.0, "segmentation": outline}
            for i, outline in enumerate(outlines)
        ]  # fmt: skip
        categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]
        content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
        for entry in images:
            picture(rng).save(folder / part / str(entry["file_name"]))


def make_medmnist(folder: Path) -> None:
    """The six arrays of a set."""
    rng = np.random.default_rng(0)
    np.savez(folder / "pathmnist.npz", **{
        f"{part}_{kind}": rng.integers(0, 256 if kind == "images" else 9, shape, dtype=np.uint8)
        for part, count in (("train", 7), ("val", 3), ("test", 4))
        for kind, shape in (("images", (count, 28, 28)), ("labels", (count, 1)))
    })  # fmt: skip


def make_cifar(folder: Path, *, binary: bool = False) -> None:
    """All batches of CIFAR-10 with a few images each, as Python pickles or in the binary version."""
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        labels, pixels = rng.integers(0, 10, 4, dtype=np.uint8), rng.integers(0, 256, (4, 3072), dtype=np.uint8)
        if binary:
            (folder / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], pixels], 1).tobytes())
        else:
            content = {b"data": pixels, b"labels": labels.tolist(), b"batch_label": name.encode()}
            (folder / name).write_bytes(pickle.dumps(content, protocol=4))
    names = {b"label_names": [name.encode() for name in CLASSES], b"num_vis": 3072}
    if binary:
        (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n")
    else:
        (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=4))


def make_zip(folder: Path) -> None:
    """CIFAR-10 as a zip of class folders of train and test."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for part in ("train", "test"):
            for i, name in enumerate(CLASSES):
                stream = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(stream, "JPEG")
                archive.writestr(f"{part}/{name}/{i:04d}.jpg", stream.getvalue())


def make_masks(folder: Path) -> None:
    """Radiographs with masks and their table, as the COVID-19 findings are laid out."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for i in range(4):
        picture(rng).save(folder / "images" / f"{i}.png")
        picture(rng, "1").save(folder / "masks" / f"{i}__Consolidation.png")
    rows = "\n".join(f"{i}.png,PA,X-ray" for i in range(4))
    (folder / "metadata.csv").write_text(f"filename,view,modality\n{rows}\n")


def make_toml(folder: Path) -> None:
    """A recipe and a study that the package carries, the recipe with its base beside it."""
    package = Path(str(files("pellucid")))
    for name in ("khakzar2019-robust", "khakzar2019-baseline", "woods2019-noisy"):
        shutil.copy(package / "recipes" / f"{name}.toml", folder / f"recipe-{name}.toml")
    (folder / "recipe-base.toml").write_text('base = "recipe-khakzar2019-robust.toml"\n[training]\nepochs = 2\n')
    for name in ("demo", "annotation-loop"):
        shutil.copy(package / "studies" / f"{name}.toml", folder / f"study-{name}.toml")


def read_toml(folder: Path) -> list[str]:
    """Loads every recipe and every study."""
    recipes = [partial(_call, load_recipe, str(path)) for path in sorted(folder.glob("recipe-*"))]
    studies = [partial(_call, load_study, str(path)) for path in sorted(folder.glob("study-*"))]
    return reads(*recipes, *studies)(folder)


def _call(function: Callable[[str], object], argument: str, _folder: Path) -> object:
    return function(argument)


def make_model(folder: Path) -> None:
    """A network's card and weights, and its weights again as others keep them."""
    torch.manual_seed(0)
    network = create_model("small", classes=["a", "b"], task="multilabel", size=32, **SMALL)
    save_model(network, folder, extra={"thresholds": [0.5, 0.4], "seed": 1, "score": 0.7})
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, folder / "checkpoint.pt")


def make_annotations(folder: Path) -> None:
    """A database with some of everything, both of our files of it, and a COCO file as others write it."""
    data = open_dataset("phantom", options=PHANTOM)["train"]
    first, second = data.ids[:2]
    shapes = (
        Rectangle(0.25, 0.5, 0.25, 0.125), Polygon(((0.1, 0.2), (1 / 3, 0.7), (0.9, 2 / 3))),
        Brush(((0.2, 0.2), (0.8, 0.55)), 0.0625, 1.0),
    )  # fmt: skip
    with open_store(folder / "annotations.db", create=data) as store:
        store.put_image(first, 32, 32)
        store.put_image(second, 32, 32)
        for shape in shapes:
            store.add_mark(Mark(first, "Nodule", "relevant", shape, "Ann"))
        store.put_verdict(LabelAnswer(first, "Nodule", "yes", "Ann"))
        store.put_note(Note(second, 'a note, in "quotes"', "Bob"))
        store.put_visit(Visit(first, "done", "Ann"))
    export_annotations(folder / "annotations.db", folder / "ours.json", "coco")
    export_annotations(folder / "annotations.db", folder / "ours.csv", "csv")
    theirs = {
        "images": [{"id": 7, "file_name": f"images/{first}.png", "width": 64, "height": 64}],
        "categories": [{"id": 3, "name": "Nodule"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [16, 8, 32, 16], "iscrowd": 0,
             "attributes": {"rotation": 30.0, "occluded": False}},
            {"id": 2, "image_id": 7, "category_id": 3, "segmentation": [[0, 0, 64, 0, 64, 16]], "bbox": [0, 0, 1, 1]},
            {"id": 3, "image_id": 7, "category_id": 3, "bbox": [0, 0, 8, 8], "iscrowd": 1,
             "segmentation": {"size": [64, 64], "counts": [100, 50, 64 * 64 - 150]}},
        ],
    }  # fmt: skip
    (folder / "theirs.json").write_text(json.dumps(theirs))


def read_annotations(folder: Path) -> list[str]:
    """Opens the database and reads all of it, and takes each file into a new one."""
    data = open_dataset("phantom", options=PHANTOM)["train"]

    def read_store(at: Path) -> None:
        with open_store(at / "annotations.db", create=data) as store:
            store.content()
            store.annotations()

    def importing(name: str) -> Callable[[Path], object]:
        return lambda at: import_annotations(at / name, at / f"new-{name}.db", data)

    return reads(read_store, *(importing(name) for name in ("ours.json", "ours.csv", "theirs.json")))(folder)


def make_shards(folder: Path) -> None:
    """The small phantom in shards."""
    write_shards(open_dataset("phantom", options=PHANTOM), folder, InputSpec.square(1, 16), shard_size=8, workers=1)


_TIFF = ".tif"
KINDS: dict[str, Kind] = {
    "png": Kind(
        pictures(
            (".png", "L", {}), (".png", "I;16", {}), (".png", "RGB", {"exif": turned()}), (".png", "P", {}),
            (".png", "RGBA", {}), (".png", "1", {"dpi": (72, 72)}),
        ),
        dataset("folder"),
    ),
    "jpeg": Kind(
        pictures(
            (".jpg", "L", {}), (".jpg", "RGB", {"exif": turned()}), (".jpg", "CMYK", {}),
            (".jpg", "RGB", {"progressive": True}),
        ),
        dataset("folder"),
    ),
    "tiff": Kind(
        pictures(
            (_TIFF, "L", {}), (_TIFF, "I;16", {}), (_TIFF, "RGB", {"compression": "tiff_lzw"}),
            (_TIFF, "L", {"compression": "tiff_adobe_deflate"}), (_TIFF, "1", {"compression": "group4"}),
            (_TIFF, "RGB", {"compression": "jpeg", "exif": turned()}), (_TIFF, "P", {}), (_TIFF, "RGBA", {}),
        ),
        dataset("folder"),
    ),
    "pictures": Kind(
        pictures(
            (".gif", "P", {}), (".webp", "RGB", {"exif": turned()}), (".webp", "RGBA", {"lossless": True}),
            (".bmp", "L", {}),
            (".bmp", "RGB", {}), (".ppm", "RGB", {}), (".pgm", "L", {}), (".jp2", "RGB", {}), (".pgm", "I;16", {}),
        ),
        dataset("folder"),
    ),
    "dicom": Kind(make_dicom, dataset("dicom"), "*.*"),
    "table": Kind(make_table, dataset("table", table="labels.csv"), "*.csv"),
    "parquet": Kind(
        lambda folder: make_table(folder, parquet=True),
        dataset("table", table="labels.parquet", boxes="boxes.parquet"),
        "*.parquet",
    ),
    "coco": Kind(make_coco, dataset("coco"), "annotations/*.json"),
    "npz": Kind(make_medmnist, dataset("medmnist")),
    "cifar-python": Kind(make_cifar, dataset("cifar10"), "*"),
    "cifar-binary": Kind(lambda folder: make_cifar(folder, binary=True), dataset("cifar10"), "*.*"),
    "zip": Kind(make_zip, dataset("cifar10", train_zip="images.zip"), "*.zip"),
    "masks": Kind(make_masks, dataset("covid-findings")),
    "toml": Kind(make_toml, read_toml, "*.toml"),
    "model": Kind(
        make_model,
        reads(load_model, read_training_record, lambda folder: read_tensors(folder / "checkpoint.pt")),
        "*.*",
    ),
    "annotations": Kind(make_annotations, read_annotations, "*.*"),
    "shards": Kind(make_shards, dataset("shards")),
}  # fmt: skip
