"""Put the first case of the demo's report side by side, as docs/images/adversarial.png.

python docs/make_demo_picture.py runs/demo/report.html
"""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

COLUMNS = {  # by place in the report: the image, then three pictures of each network
    0: "the finding, outlined",
    2: "plain: saliency",
    3: "plain: altered image",
    5: "robust: saliency",
    6: "robust: altered image",
}
SIDE, GAP, LINE = 192, 8, 22


def sheet(report: str) -> Image.Image:
    """The pictures of the first case in one row, each with what it is below.

    Args:
        report: the page, HTML.
    """
    cases = report.partition("Cases, as each network sees them")[2]
    pictures = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", cases)
    page = Image.new("RGB", (len(COLUMNS) * (SIDE + GAP) - GAP, SIDE + LINE), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for column, (place, label) in enumerate(COLUMNS.items()):
        picture = Image.open(io.BytesIO(base64.b64decode(pictures[place]))).convert("RGB")
        left = column * (SIDE + GAP)
        page.paste(picture.resize((SIDE, SIDE), Image.Resampling.NEAREST), (left, 0))
        pen.text((left, SIDE + 3), label, fill="black", font=font)
    return page


if __name__ == "__main__":
    path = Path(__file__).parent / "images" / "adversarial.png"
    sheet(Path(sys.argv[1]).read_text(encoding="utf-8")).quantize(256).save(path, optimize=True)
    print(f"wrote {path}")
