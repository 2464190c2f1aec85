"""What a notebook shows of a result beside its tables."""

import re
from base64 import b64decode
from xml.etree import ElementTree


def charts_of(result) -> list[set[str]]:
    """The texts in each chart that a notebook shows, each chart read as a file that stands alone."""
    pages = re.findall(r'src="data:image/svg\+xml;base64,(.*?)"', result._repr_html_())
    roots = [ElementTree.fromstring(b64decode(page)) for page in pages]
    assert all(root.tag == "{http://www.w3.org/2000/svg}svg" for root in roots)
    return [{text.strip() for text in root.itertext() if text.strip()} for root in roots]
