"""Advice in messages: an option of the command line stands beside what it is called in Python."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "src" / "pellucid"


def functions(path: Path, word: str) -> list[tuple[str, str]]:
    """The functions of a file that hold a word, by name, their code but for the docstring."""
    text = path.read_text(encoding="utf-8")
    lines, found = text.splitlines(), []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and word in "\n".join(lines[node.lineno - 1 : node.end_lineno]):
            has_docstring = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
            found.append((node.name, "\n".join(ast.unparse(line) for line in node.body[has_docstring:])))
    return found


def test_who_writes_python_is_told_how_data_are_opened():
    paths = [path for path in sorted(SOURCES.rglob("*.py")) if "cli" not in path.relative_to(SOURCES).parts]
    paths = [path for path in paths if "--data" in path.read_text(encoding="utf-8")]
    advising = [(path, *one) for path in paths for one in functions(path, "--data-option") if "--data-option" in one[1]]
    assert len(advising) > 5
    assert [
        f"{path.name}: {name}" for path, name, code in advising if "ython" not in code and "IN_PYTHON" not in code
    ] == []
