"""Names of classes on the command line: with commas and quotes in them, and in letters that a terminal cannot show."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers.forked import Forked
from helpers.models import small
from pellucid.models.weights import save_model
from pellucid.types import InputError
from pellucid.utils.settings import split_names
from pellucid.verbs.explaining.class_choice import parse_classes

CLASSES = ('"c"', "a, b", "日本")
IN_TURN = """
import json, sys
from pellucid.cli.app import main

for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(encoding=sys.argv[2])
for words in json.loads(sys.argv[1]):
    sys.argv = ["pellucid", *words]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
    print("done")
"""


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1).map(str.strip).filter(bool))
)
def test_names_are_read_as_csv_is(names):
    quoted = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    assert split_names(quoted) == names


def test_a_class_with_a_comma_can_be_chosen():
    parts = parse_classes('"a, b",日本', CLASSES, "multilabel", truth=False).parts
    assert parts == ("a, b", "日本")
    assert parse_classes('"""c""",all', CLASSES, "multilabel", truth=False).parts == ('"c"', "all")
    with pytest.raises(InputError, match=r"unknown class 'a'.*A name that holds a comma stands in double quotes"):
        parse_classes("a, b", CLASSES, "multilabel", truth=False)
    with pytest.raises(InputError, match="put one that holds a comma or a quote in double quotes"):
        parse_classes('"a, b', CLASSES, "multilabel", truth=False)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii"])
def test_a_terminal_that_cannot_show_a_class_shows_its_code_points(encoding, tmp_path):
    model = save_model(small(task="multiclass", classes=CLASSES), tmp_path / "run")
    rng = np.random.default_rng(0)
    for name in CLASSES:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(folder / f"{i}.png")
    out = tmp_path / "out"
    data = ["--data", "folder", "--root", tmp_path / "data", "--data-option", "test_fraction=1", "--device", "cpu"]
    commands = [["evaluate", model, *data, "--out", out], ["models", "show", model]]
    words = json.dumps([list(map(str, arguments)) for arguments in commands])
    process = Forked(words, encoding, code=IN_TURN)
    printed, messages = process.communicate()
    assert process.returncode == 0, messages
    outputs = printed.split("done\n")
    assert len(outputs) == 3
    for output in outputs[:2]:
        assert "\\u65e5\\u672c" in output
    rows = json.loads((out / "classification.json").read_text(encoding="utf-8"))["rows"]
    assert {row["class"] for row in rows} == {*CLASSES, "mean"}
    with (out / "classification.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["class"] for row in csv.DictReader(stream)} == {*CLASSES, "mean"}
