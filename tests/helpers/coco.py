"""A small COCO release, as its files are laid out, for the tests of what it says and of what can be wrong with it."""

from __future__ import annotations

import json

from PIL import Image

WIDTH, HEIGHT = 40, 30
CATEGORIES = [{"id": 7, "name": "train"}, {"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
RECTANGLE = [4.0, 6.0, 16.0, 6.0, 16.0, 20.0, 4.0, 20.0]  # x from 4 to 16, y from 6 to 20


def annotation(number, image, category, box=(4, 6, 12, 14), crowd=0, **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": crowd} | more


def content(*annotations, images=4, first=1):
    numbers = range(first, first + images)
    listed = [{"id": i, "file_name": f"{i:012d}.jpg", "width": WIDTH, "height": HEIGHT} for i in numbers]
    return {"info": {}, "images": listed, "annotations": list(annotations), "categories": CATEGORIES}


def write_release(folder, val=None, train=None):
    """Write one or both parts from their JSON; their images are plain gray."""
    (folder / "annotations").mkdir(exist_ok=True)
    for name, value in (("val2017", val), ("train2017", train)):
        if value is None:
            continue
        (folder / "annotations" / f"instances_{name}.json").write_text(json.dumps(value))
        (folder / name).mkdir(exist_ok=True)
        for entry in value["images"]:
            Image.new("L", (WIDTH, HEIGHT), entry["id"] % 256).save(folder / name / entry["file_name"])
    return folder
