"""Pictures of a report's sections, for docs/results: python docs/capture_report.py runs/NAME docs/results/NAME."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SECTIONS = ("summary", "robustness", "localization", "wang", "sweep", "cases")
TABLES = ("classification", "robustness", "localization", "wang", "training")


def capture(run: Path, out: Path) -> None:
    """Copy a study's tables and picture its report's sections, each a PNG of at most 256 colours."""
    (out / "tables").mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        table = run / "tables" / f"{name}.csv"
        if table.is_file():
            shutil.copyfile(table, out / "tables" / table.name)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.goto((run / "report.html").resolve().as_uri())
        for section in SECTIONS:
            place = page.locator(f"section#{section}")
            if place.count():
                picture = Image.open(io.BytesIO(place.first.screenshot())).convert("RGB")
                picture.quantize(256, dither=Image.Dither.NONE).save(out / f"{section}.png", optimize=True)
                print(f"{out / section}.png", picture.size)
        browser.close()


if __name__ == "__main__":
    capture(Path(sys.argv[1]), Path(sys.argv[2]))
