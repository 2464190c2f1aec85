"""Draw docs/images/phantom.png: normal phantoms, each finding with its box, and each kind of shortcut."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pellucid.data.readers.phantom.reader import PHANTOM_CLASSES, PhantomOptions
from pellucid.data.readers.phantom.scene import boxes, draw_scene, make_scene
from pellucid.data.readers.phantom.shortcuts import KINDS

GAP, TITLE = 4, 20
GREYS, AMBER = 40, 255  # few grey levels keep the file small; one place of the palette is the boxes' colour


def sheet(count_per_finding: int = 4, seed: int = 0, size: int = 152) -> Image.Image:
    """Blocks of phantoms, two in a row; a finding's box is drawn on every other image.

    Of a shortcut, every other image is the one before it without the shortcut.

    Args:
        count_per_finding: images a block.
        seed: of the phantom.
        size: of an image in pixels.
    """
    font = ImageFont.load_default(14)
    blocks = ("No finding", *PHANTOM_CLASSES, *KINDS)
    width = count_per_finding * (size + GAP)
    page = Image.new("P", (2 * width + 2 * GAP, -(-len(blocks) // 2) * (size + TITLE + GAP) + GAP), GREYS - 1)
    grey = [level * 255 // (GREYS - 1) for level in range(GREYS) for _ in range(3)]
    page.putpalette(grey + [0] * (3 * (AMBER - GREYS)) + [255, 190, 0])
    pen = ImageDraw.Draw(page)
    pen.fontmode = "1"
    options = PhantomOptions(size=size)
    for row, label in enumerate(blocks):
        left, top = GAP + (row % 2) * (width + GAP), GAP + (row // 2) * (size + TITLE + GAP)
        pen.text((left, top), f"shortcut: {label}" if label in KINDS else label, fill=0, font=font)
        for column in range(count_per_finding):
            planted = {label} & set(KINDS)
            place = column // 2 if planted else column
            index = 12 * (row * count_per_finding + place)  # twelve images on: another patient
            present = {label} & set(PHANTOM_CLASSES)
            if planted and column % 2:
                planted = set()
            scene = make_scene(index, seed=seed, options=options, split="train", present=present, planted=planted)
            image = Image.fromarray(draw_scene(scene, size)).point(lambda v: (v * (GREYS - 1) + 127) // 255)
            if present and column % 2:
                box = boxes(scene, size)[label]
                corners = (box.x - 2, box.y - 2, box.x + box.width + 1, box.y + box.height + 1)
                ImageDraw.Draw(image).rectangle(corners, outline=AMBER)
            page.paste(_as_palette(image), (left + column * (size + GAP), top + TITLE))
    return page


def _as_palette(image: Image.Image) -> Image.Image:
    """The same bytes, read as places of the page's palette."""
    return Image.frombytes("P", image.size, image.tobytes())


if __name__ == "__main__":
    path = Path(__file__).parent / "images" / "phantom.png"
    path.parent.mkdir(exist_ok=True)
    picture = sheet()
    picture.save(path, optimize=True)
    print(f"{path.name}: {picture.size}, {path.stat().st_size / 1000:.0f} kB")
