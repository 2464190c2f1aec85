"""The source as a newcomer finds it: small folders, no circles, nothing private shared, and a README that draws it."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter, defaultdict
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import typer

from helpers.seconds import measured
from pellucid.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "pellucid"
FILES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}
README = (ROOT / "README.md").read_text(encoding="utf-8")


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All of a file, a class before what is in it."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imports(path: Path) -> list[tuple[str, str]]:
    """Every import of our own files, wherever it stands: (module, name), the name empty for a module itself."""
    found = []
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "pellucid":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append((whole, "") if whole in FILES else (str(node.module), alias.name))
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names if alias.name in FILES]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not followed here; write the whole name"
    return found


def test_no_folder_holds_more_than_twenty_files():
    count = Counter(path.parent for path in FILES.values())
    assert not {str(folder.relative_to(ROOT)): n for folder, n in count.items() if n > 20}


def test_scripts_import_what_is_there():
    """Those beside results and benchmarks, which no other test runs whole."""
    scripts = [*(ROOT / "docs").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    names = {place for script in scripts for place in imports(script)}
    assert len(names) > 100
    assert not [place for place in names if place[1] and not hasattr(import_module(place[0]), place[1])]


def test_no_two_files_import_each_other_in_a_circle():
    """Also not where the import is for types only, or inside a function."""
    open_edges = {module: {name for name, _ in imports(path)} for module, path in FILES.items()}
    # what stays after files that import nothing of what is left are taken away is a circle, or uses one
    while free := [module for module, targets in open_edges.items() if not targets & open_edges.keys() - {module}]:
        for module in free:
            del open_edges[module]
    assert not {m: sorted(t & open_edges.keys()) for m, t in open_edges.items()}


def test_nothing_private_is_imported_from_another_file():
    taken = [
        f"{module}: {source}.{name}"
        for module, path in FILES.items()
        for source, name in imports(path)
        if name.startswith("_") and not name.startswith("__")
    ]
    assert not taken


def test_the_readme_draws_every_package():
    drawing = re.search(r"```text\n(src/pellucid/.*?)```", README, re.DOTALL)
    assert drawing is not None
    named = set(re.findall(r"(?:^src/pellucid/|, )([a-z_]+)/", drawing[1], re.MULTILINE))
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages - named == set()
    assert {name for name in named if not (SOURCE / name).is_dir()} == set()


def test_the_readme_names_every_command():
    command = typer.main.get_command(app)
    verbs = set()
    for name, one in command.commands.items():
        verbs |= {f"{name} {inner}" for inner in one.commands} if hasattr(one, "commands") else {name}
    assert {verb for verb in verbs if not re.search(rf"pellucid {verb}(?![\w-])", README)} == set()


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("__init__.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_package_says_what_it_holds(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_two_public_classes_have_one_name():
    files = defaultdict(list)
    for path in SOURCE.rglob("*.py"):
        for node in nodes(path):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].append(path.relative_to(SOURCE).as_posix())
    assert {name: where for name, where in files.items() if len(where) > 1} == {}


def test_a_file_holds_one_command():
    commands = [*app.registered_commands]
    for group in app.registered_groups:
        commands += group.typer_instance.registered_commands
    modules = Counter(command.callback.__module__ for command in commands)
    assert len(commands) > 20
    assert set(modules.values()) == {1}


FILE_NAMES = {
    "csv", "css", "html", "json", "jsonl", "md", "meta", "npz", "onnx", "png", "pt", "py", "safetensors", "toml",
}  # fmt: skip
ELSEWHERE = {
    *sys.stdlib_module_names, "F", "captum", "maite", "nn", "np", "onnx", "pl", "scipy", "torch", "torchvision",
    "attributes", "resnet50", "section",  # of CVAT's files, of other libraries' weights, of a recipe's settings
}  # fmt: skip


@cache
def names_in(path: Path) -> set[str]:
    """All names that stand in a file's code."""
    names = {node.name for node in nodes(path) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    names |= {node.id for node in nodes(path) if isinstance(node, ast.Name)}
    names |= {node.arg for node in nodes(path) if isinstance(node, ast.arg)}
    names |= {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
    imported = [node for node in nodes(path) if isinstance(node, ast.ImportFrom)]
    return names | {alias.asname or alias.name for node in imported for alias in node.names}


def test_docstrings_name_what_is_there():
    """`a.b` in a docstring is a module and a name in it, a class and what it has, or a variable of the same file."""
    attributes = {node.attr for path in FILES.values() for node in nodes(path) if isinstance(node, ast.Attribute)}
    owners = defaultdict(set)
    for name, path in FILES.items():
        parts = name.split(".")
        for start in range(len(parts)):
            owners[".".join(parts[start:])] |= names_in(path)
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                members = {x.name for x in node.body if isinstance(x, ast.FunctionDef)}
                owners[node.name] |= members | {x.target.id for x in node.body if isinstance(x, ast.AnnAssign)}
    missing = []
    for path in FILES.values():
        values = [node.value for node in nodes(path) if isinstance(node, ast.Expr)]
        for text in (v for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)):
            for whole in re.findall(r"(?<!`)`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\([^`]*)?`", text.value):
                head, last = whole.rsplit(".", 1)
                first = head.split(".")[0]
                is_variable = first in names_in(path) and last in attributes
                is_there = whole in owners or last in owners[head] or is_variable
                if not (is_there or last in FILE_NAMES or first in ELSEWHERE):
                    missing.append(f"{path.relative_to(SOURCE)}:{text.lineno} {whole}")
    assert not missing


def test_every_test_file_whose_time_was_measured_is_there():
    """By these the files are ordered; `make test-seconds` measures them anew."""
    assert [name for name in measured() if not (ROOT / "tests" / name).is_file()] == []


VERBS = {
    "asked", "chosen", "done", "drawn", "found", "given", "got", "held", "kept", "known", "left", "looked", "made",
    "meant", "met", "moved", "read", "said", "seen", "sent", "shown", "taken", "told", "tried", "wanted", "worn",
    "written",
}  # fmt: skip
FIELDS = {  # of classes: `found` is a mask or what was measured, `read` is a function
    "attacks.result.AttackResult.found",
    "data.dataset.Dataset.read",
    "data.readers.cifar10.reader._Images.read",
    "evaluation.manipulation.attack.Manipulation.found",
    "evaluation.robustness.certified_attack.AttackedDecision.found",
    "evaluation.robustness.radii.Radii.found",
    "evaluation.robustness.radius_log.RadiusRow.found",
    "models.sources.importing.PublishedFormat.read",
    "verbs.ara.AraResult.found",
    "verbs.attack.AttackedImages.found",
    "verbs.certify.Certification.found",
}


def called_by_verbs(path: Path) -> tuple[list[str], set[str]]:
    """Variables and parameters with such names, as `line name`; and fields of classes, as `Class.name`."""
    variables, fields, targets, sides = [], set(), set(), set()
    for node in nodes(path):
        if isinstance(node, ast.ClassDef):
            lines = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
            targets |= {id(target) for target in lines}
            side = {"left"} if {target.id for target in lines} & {"right", "top"} else set()
            fields |= {f"{node.name}.{target.id}" for target in lines if target.id in VERBS - side}
        elif isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)):
            name = node.arg if isinstance(node, ast.arg) else node.id
            sides |= {name} & {"right", "top"}
            if name in VERBS and id(node) not in targets:
                variables.append(f"{node.lineno} {name}")
    return [text for text in variables if not (sides and text.endswith(" left"))], fields


def test_no_variable_or_field_is_called_by_a_verb_that_says_nothing_of_what_it_holds():
    """`left` may be a side: where there is a `right` or a `top` too. A listed field that is gone leaves the list."""
    wrong, fields = {}, set()
    for module, path in FILES.items():
        wrong[module], own = called_by_verbs(path)
        fields |= {f"{module}.{name}".removeprefix("pellucid.") for name in own}
    assert {module: names for module, names in wrong.items() if names} == {}, "say what they hold: boxes, rows, message"
    assert fields == FIELDS
