"""The README's pictures: horse-to-deer.png of the first page, adversarial.png and report.png of the other.

python docs/make_readme_pictures.py runs/horse-to-deer/explain.html
python docs/make_readme_pictures.py runs/demo/report.html
"""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import sync_playwright

SIDE, GAP, LINE = 320, 12, 52
SIZE = 36  # of the letters: a third of it is left on a telephone


@dataclass(frozen=True)
class Row:
    """A network and its pictures, under what stands over them."""

    title: str
    pictures: list[Image.Image]


def explained(page: str) -> list[Row]:
    """Of the first image of explain.html, for each of two networks the image, the altered one and the change.

    Args:
        page: of two networks, one class and adversarial explanations.
    """
    rows = []
    for article in page.split("<article")[1:3]:
        name = _text(article, r"<h2>.*, (.*?)</h2>")
        class_name = _text(article, r"<h3>(.*?) <span>")
        moved = _text(article, r"<figcaption>changed, ρ\s=\s[\d.]+: (.*?)</figcaption>").replace(
            "\N{NO-BREAK SPACE}", " "
        )
        image, *_, altered, change = _pictures(article)
        rows.append(Row(f"{name} network: P({class_name}) {moved}", [image, altered, change]))
    return rows


def first_case(report: str) -> list[Row]:
    """Of the first case of the demo's report, for each of two networks the image, the saliency and the altered one.

    Args:
        report: the page.
    """
    pictures = _pictures(report.partition(", as each network sees ")[2])[:7]  # of each network CAM comes first
    if len(pictures) < 7:
        sys.exit("The report shows no case of two networks, as one that was judged again: take the demo's own.")
    image, _, *maps = pictures
    rows = {"plain network": maps[:2], "robust network": maps[3:5]}
    return [Row(name, [image, *own]) for name, own in rows.items()]


def sheet(headings: list[str], rows: list[Row]) -> Image.Image:
    """The rows below each other, with what each column has on top."""
    height = LINE + len(rows) * (LINE + SIDE + GAP)
    page = Image.new("RGB", (len(headings) * (SIDE + GAP) - GAP, height), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.truetype(findfont("DejaVu Sans"), SIZE)
    for column, heading in enumerate(headings):
        pen.text((column * (SIDE + GAP), 2), heading, fill="black", font=font)
    for number, row in enumerate(rows):
        top = LINE + number * (LINE + SIDE + GAP)
        pen.text((0, top + 2), row.title, fill="black", font=font)
        for column, picture in enumerate(row.pictures):
            enlarged = picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)
            page.paste(enlarged, (column * (SIDE + GAP), top + LINE))
    return page


def opening(report: Path) -> Image.Image:
    """What a browser shows first of the report, in a window of 1000 × 1250."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 1250})
        page.goto(report.resolve().as_uri())
        shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        browser.close()
    return shown


def _text(page: str, pattern: str) -> str:
    return html.unescape(re.findall(pattern, page)[0])


def _pictures(page: str) -> list[Image.Image]:
    addresses = re.findall(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]+)", page)
    return [Image.open(io.BytesIO(base64.b64decode(address))).convert("RGB") for address in addresses]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    text = path.read_text(encoding="utf-8")
    if path.name == "explain.html":
        pictures = {"horse-to-deer": sheet(["image", "altered", "change"], explained(text))}
    else:
        case = sheet(["image", "saliency", "altered"], first_case(text))
        pictures = {"adversarial": case, "report": opening(path)}
    for name, picture in pictures.items():
        target = Path(__file__).parent / "images" / f"{name}.png"
        picture.quantize(256).save(target, optimize=True)
        print(f"wrote {target}")
