"""The documentation says what is true: its commands parse, its links lead somewhere, its examples run."""

from __future__ import annotations

import csv
import importlib.util
import re
import sys
import types
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import typer

from helpers.documentation import FENCE, RESULTS, TEXTS, TOP, blocks, commands
from pellucid.cli.app import app
from pellucid.data.registry import dataset_names
from pellucid.evaluation.trust.measures import MEASURES
from pellucid.models import create_model, model_names, save_model
from pellucid.models.activations import ACTIVATIONS
from pellucid.models.sources.importing import FORMATS
from pellucid.study import load_study
from pellucid.training import load_recipe, recipe_names
from pellucid.utils.resources import bundled

if TYPE_CHECKING:
    from pathlib import Path

MAIN: Any = typer.main.get_command(app)


def mentions() -> list[tuple[str, list[str]]]:
    """Every pellucid command in running text."""
    spans = [
        (page, span)
        for page, text in TEXTS.items()
        for span in re.findall(r"`(pellucid [^`]+)`", FENCE.sub("", text).replace("\n", " "))
    ]
    return [(page, span.split()[1:]) for page, span in spans]


def name_of(value: str | list[str]) -> str:
    """What a case is called in pytest's output."""
    return (value if isinstance(value, str) else " ".join(value))[:60]


def verb_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and what is left of them."""
    command, rest = MAIN, words
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"there is no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def verbs() -> list[list[str]]:
    """Every command there is."""
    return [
        [n, m] if hasattr(c, "commands") else [n]
        for n, c in MAIN.commands.items()
        for m in getattr(c, "commands", [""])
    ]


def test_pages_show_commands_of_every_verb():
    groups = [n for n, c in MAIN.commands.items() if hasattr(c, "commands")]
    shown = {" ".join(words[:2]) if words[0] in groups else words[0] for _, words in commands()}
    assert {" ".join(words) for words in verbs()} <= shown


@pytest.mark.parametrize(("page", "words"), commands(), ids=name_of)
def test_command_parses_and_names_what_exists(page: str, words: list[str]):
    command, rest = verb_of(words)
    given = command.make_context(command.name, list(rest)).params  # parses and converts, runs nothing
    if given.get("data"):
        assert given["data"] in dataset_names()
    if command.name == "check":
        assert given["name"] in dataset_names()
    overrides = given.get("overrides") or ()
    if command.name == "train":
        load_recipe(given["recipe"], overrides)
    elif command.name == "demo":
        load_study("demo", overrides)
    elif command.name == "study":
        load_study(given["name"], overrides)


@pytest.mark.parametrize(("page", "words"), mentions(), ids=name_of)
def test_mentioned_command_and_its_options_exist(page: str, words: list[str]):
    command, rest = verb_of([w for w in words if w not in ("COMMAND", "…")])
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
    assert {w for w in rest if w.startswith("--")} <= known
    if page == "docs/questions.md":  # these are meant to be copied whole
        needed = {option.opts[-1] for option in command.params if option.required and option.opts[0].startswith("--")}
        assert needed <= set(rest)


OTHERS = {"--user", "--inplace", "--raw", "--nproc_per_node", "--methods"}
"""Options of other programs that running text names: pip, jupyter, gdcmconv, torchrun and the benchmark `discovery`."""


def test_every_option_in_running_text_exists():
    """Also one that stands alone, as `--limit`, or in a table's cell."""
    commands_with_options = [verb_of(words)[0] for words in verbs()] + [MAIN]
    options = {o for c in commands_with_options for p in c.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    others = ("CHANGELOG.md", "SECURITY.md", "benchmarks/README.md")
    texts = TEXTS | RESULTS | {page: (TOP / page).read_text(encoding="utf-8") for page in others}
    words = {
        (page, option)
        for page, text in texts.items()
        for span in re.findall(r"`([^`]+)`", FENCE.sub("", text.partition("### Gone, or called otherwise")[0]))
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)
    }
    assert len(words) > 100
    assert {option for _, option in words} >= OTHERS
    unknown = sorted((page, option) for page, option in words if option not in options | OTHERS)
    assert unknown == []


def test_an_option_that_running_text_names_with_a_command_is_one_of_it():
    """Also where the text leaves out `pellucid`, as in `ara --protocol`."""
    others = {page: (TOP / page).read_text(encoding="utf-8") for page in ("CHANGELOG.md", "benchmarks/README.md")}
    named, strange = 0, []
    for page, text in (TEXTS | RESULTS | others).items():
        for span in re.findall(r"`([a-z][^`]* --[^`]+)`", FENCE.sub("", text.partition("### Gone, or called")[0])):
            words = span.removeprefix("pellucid ").split()
            if words[0] not in MAIN.commands:
                continue
            named += 1
            command, rest = verb_of([word for word in words if word != "…"])
            options = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
            strange += [
                (page, span) for word in rest if word.startswith("--") and word.partition("=")[0] not in options
            ]
    assert named > 20
    assert strange == []


@pytest.mark.parametrize("words", verbs(), ids=name_of)
def test_help_ends_with_an_example(words: list[str]):
    assert "Example" in verb_of(words)[0].help


@pytest.mark.parametrize("page", [*TEXTS, "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md", *RESULTS])
def test_links_lead_somewhere(page: str):
    text = FENCE.sub("", (TOP / page).read_text(encoding="utf-8"))
    broken = []
    for link in re.findall(r"(?:\]\(|\bsrc=\")([^)\s\"]+)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (TOP / page).parent / path if path else TOP / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def anchors(page: Path) -> set[str]:
    """What a Markdown page's headings are called in links."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the demo leaves it, as far as the examples look: an untrained network and one table."""
    folder = tmp_path_factory.mktemp("demo")
    card = load_study("demo")
    assert [v.label for v in card.variants] == ["baseline", "robust"]  # which the examples name
    size = card.settings["model"]["size"]
    classes = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax")
    name, widths = card.settings["model"]["name"], [8, 16, 16]  # narrower than the demo's
    network = create_model(name, classes=classes, task="multilabel", size=size, widths=widths)
    save_model(network, folder / "runs" / "demo" / "runs" / "robust-seed0", extra={"thresholds": [0.5] * 8})
    table = folder / "runs" / "demo" / "tables" / "localization.csv"
    table.parent.mkdir()
    table.write_text("method,variant,metric,class,value,low,high\ncam,robust,pointing,mean,0.5,0.4,0.6\n")
    return folder


RUNNABLE = [
    (page, body)
    for page, text in TEXTS.items()
    for body in re.findall(r"<!-- runs -->\n```python\n(.*?)```", text, re.DOTALL)
]


def test_every_python_block_is_one_that_runs():
    assert sorted(blocks("python")) == sorted(RUNNABLE), "write <!-- runs --> before it, or make it no Python block"


@pytest.mark.slow
@pytest.mark.usefixtures("quick_check", "empty_charts")
@pytest.mark.parametrize(("page", "code"), RUNNABLE, ids=[page for page, _ in RUNNABLE])
def test_example_runs(
    page: str, code: str, demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from pellucid.data.registry import DATASETS

    monkeypatch.chdir(demo)
    module = types.ModuleType("documentation_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    before = set(DATASETS)
    try:
        exec(compile(code, page, "exec"), module.__dict__)
    finally:
        for name in set(DATASETS) - before:
            del DATASETS[name]
    assert capsys.readouterr().out.strip()  # every example prints what it found


def test_every_verb_has_an_example():
    import pellucid

    verbs = {name for name, place in pellucid.VERBS.items() if ".verbs." in place}
    assert verbs <= {name for _, code in RUNNABLE for name in re.findall(r"pl\.(\w+)\(", code)}


def test_no_command_holds_a_program():
    """Python stands in blocks, which are read and run; a command of one line may look something up, and no more."""
    longest = {(page, line) for page, body in blocks("sh") for line in body.splitlines() if "python -c" in line}
    assert [line for _, line in longest if len(line) > 120] == []


def test_the_first_example_in_python_is_short():
    first = re.findall(r"```python\n(.*?)```", TEXTS["README.md"], re.DOTALL)[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 8
    assert "localize" in first


def test_reference_tables_are_as_the_code_has_them():
    path = TOP / "docs" / "make_reference.py"
    spec = importlib.util.spec_from_file_location("make_reference", path)
    assert spec is not None
    assert spec.loader is not None
    make_reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_reference)
    stale = [page for page, text in TEXTS.items() if make_reference.filled(text) != text]
    assert not stale, "run: python docs/make_reference.py"
    shown = re.findall(r"<!-- reference: (\w+) -->", "".join(TEXTS.values()))
    assert sorted(shown) == sorted(make_reference.TABLES)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("docs/recipes.md", [*recipe_names(), *bundled("studies")]),
        ("README.md", [*recipe_names(), *bundled("studies"), *dataset_names(), *model_names()]),
        ("docs/data.md", dataset_names()),
        ("docs/models.md", [*model_names(), *ACTIVATIONS, *FORMATS]),
    ],
)
def test_page_names_everything_there_is(page: str, names: list[str]):
    assert [name for name in names if f"`{name}`" not in TEXTS[page]] == []


def test_decisions_are_numbered_and_listed():
    files = sorted((TOP / "docs" / "decisions").glob("0*.md"))
    numbers = [int(file.name[:4]) for file in files]
    assert numbers == list(range(1, len(files) + 1))
    for number, file in zip(numbers, files, strict=True):
        title = file.read_text(encoding="utf-8").splitlines()[0]
        assert file.name[4] == "-"
        assert title.startswith(f"# {number}. ")
        assert f"[{title.partition('. ')[2]}]({file.name})" in TEXTS["docs/decisions/README.md"]


def test_no_committed_interval_is_of_zero_width():
    tables = sorted([*(TOP / "docs").rglob("*.csv"), *(TOP / "benchmarks").rglob("*.csv")])
    rows = [(path, row) for path in tables for row in csv.DictReader(path.open(encoding="utf-8", newline=""))]
    ends = [
        (path.name, name, row[name], row[name.removesuffix(low) + high])
        for path, row in rows
        for low, high in (("low", "high"), (" from", " to"))
        for name in row
        if name and name.endswith(low) and name.removesuffix(low) + high in row and not name.startswith("too ")
    ]
    assert len(ends) > 10_000
    assert [end for end in ends if end[2] and end[2] == end[3]] == []


def test_committed_tables_say_of_what_some_are_undefined():
    """`4 of 50 undefined` leaves open of what: images, heat maps, findings, classes."""
    texts = {
        path.relative_to(TOP).as_posix(): path.read_text(encoding="utf-8")
        for path in [*(TOP / "docs").rglob("*.csv"), *(TOP / "docs" / "results").rglob("*.md")]
        if "audits" not in path.parts  # made by the audit, in its own words
    }
    assert sum(len(re.findall(r"\d of [\d,]+ [a-z ]+ undefined", text)) for text in texts.values()) > 500
    assert [name for name, text in texts.items() if re.search(r"\d of [\d,]+ undefined", text)] == []


def test_no_written_interval_reads_as_if_it_had_no_width():
    """`[0.01, 0.01]` and `[−0.00, 0.00]`: what has no width gets the reason instead, whatever else more decimals."""
    number = r"([-−+]?\d*\.?\d+) ?%?"
    ends = [
        (path.relative_to(TOP).as_posix(), *(float(end.replace("−", "-")) for end in found))
        for path in [TOP / "README.md", *(TOP / "docs").rglob("*.md"), *(TOP / "docs").rglob("*.ipynb")]
        for found in re.findall(rf"\[{number}, {number}\]", re.sub(r"`[^`]*`", "", path.read_text(encoding="utf-8")))
    ]
    assert len(ends) > 1000
    assert [end for end in ends if end[1] == end[2]] == []


def test_committed_figures_of_trust_stand_under_the_question_that_their_measure_answers():
    tables = [list(csv.DictReader(path.open(encoding="utf-8"))) for path in (TOP / "docs").rglob("*.csv")]
    rows = [row for rows in tables for row in rows if {"question", "measure"} <= row.keys()]
    assert len(rows) > 500
    assert {(r["measure"], r["question"]) for r in rows if r["question"] != MEASURES[r["measure"]].question} == set()


def test_every_page_has_its_place_in_the_site():
    pages = sorted(path.relative_to(TOP / "docs").as_posix() for path in (TOP / "docs").glob("*.md"))
    navigation = (TOP / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in pages if f": {page}\n" not in navigation] == [], "add it to nav in mkdocs.yml"


def test_the_glossary_explains_a_word_once():
    words = re.findall(r"^\| (.+?) \|", (TOP / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)[1:]
    assert len(words) > 40
    assert [word for word, count in Counter(words).items() if count > 1] == []


def test_every_picture_is_in_the_gallery():
    pictures = sorted(path.relative_to(TOP / "docs").as_posix() for path in (TOP / "docs").rglob("*.png"))
    assert pictures
    assert [name for name in pictures if f"]({name})" not in TEXTS["docs/gallery.md"]] == []


AMERICAN = (
    r"\b(grays?|grayish|learnt|pediatric\w*|colors?|colored|neighbors?|neighboring|behaviors?|labeled|labeling|modeled|centered|"
    r"analyz\w+|favor\w*|catalogs?|tumors?|(normal|general|optim|initial|regular|visual|summar|minim|maxim|recogn|"
    r"organ|random|penal|emphas|standard)iz\w+)\b"
)


def test_english_is_spelled_the_british_way():
    """Running text, without code, names in links and the titles that a page cites."""
    texts = TEXTS | {
        path.relative_to(TOP).as_posix(): path.read_text(encoding="utf-8")
        for path in [TOP / "CHANGELOG.md", TOP / "benchmarks" / "README.md", *(TOP / "docs" / "results").rglob("*.md")]
        if "audits" not in path.parts  # made by the audit, in the words of its day
    }
    cited = r"(?m)^- ([A-Z]\. ?)+[^:]+: (.|\n)+?(?=\n- |\n\n|\Z)|\*[^*]+\*,\s+MICCAI"
    prose = {name: re.sub(r"`[^`]*`|\]\([^)]*\)", "", FENCE.sub("", text)) for name, text in texts.items()}
    mixed = {name: re.findall(AMERICAN, re.sub(cited, "", text), re.IGNORECASE) for name, text in prose.items()}
    assert {name: [words[0] for words in every] for name, every in mixed.items() if every} == {}
