"""What a release rests on: one version, notes of it, and modules that other systems can import."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pellucid import __version__

ROOT = Path(__file__).resolve().parents[1]

IMPORT_ALL = """
import importlib, pkgutil, sys
for absent in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[absent] = None
def ignore(name): raise
import pellucid
names = [m.name for m in pkgutil.walk_packages(pellucid.__path__, "pellucid.", onerror=ignore)]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.fixture(scope="module")
def release_notes():
    spec = importlib.util.spec_from_file_location("release_notes", ROOT / "docs" / "release_notes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_citation_is_of_this_version():
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_notes_are_what_the_changelog_says_of_one_version(release_notes):
    old = "## 1.1.0 (2026-01-02)\n\n### Mended\n\n- this\n\n## 1.0.0\n\n- that\n"
    changelog = f"# Changelog\n\n## Unreleased\n\n- new\n\n{old}"
    assert release_notes.notes("1.1.0", changelog) == "### Mended\n\n- this"
    with pytest.raises(SystemExit, match=r"says nothing of 2.0.0; it has: Unreleased, 1.1.0, 1.0.0"):
        release_notes.notes("2.0.0", changelog)


@pytest.fixture(scope="module")
def workflows():
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with pre-commit and MkDocs")
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}


def test_nothing_is_published_before_every_test_has_passed(workflows):
    jobs = workflows["release.yml"]["jobs"]
    publishing = [name for name, job in jobs.items() if job.get("permissions", {}).get("id-token") == "write"]
    assert publishing == ["publish"]
    assert jobs["publish"]["needs"] == ["test", "build"]
    assert "if" not in jobs["publish"]  # `always()` would publish what failed
    called = Path(jobs["test"]["uses"]).name
    assert "workflow_call" in workflows[called][True]  # YAML 1.1 reads `on` as true
    commands = [step.get("run", "") for job in workflows[called]["jobs"].values() for step in job["steps"]]
    assert {"make lint", "make test", "make test-oldest"} <= set(commands)


def test_workflows_may_do_no_more_than_they_need(workflows):
    for name, workflow in workflows.items():
        assert workflow["permissions"] == {"contents": "read"}, name
        for job, what in workflow["jobs"].items():
            needs = what.get("needs", [])
            assert set([needs] if isinstance(needs, str) else needs) <= set(workflow["jobs"])
            assert "timeout-minutes" in what or "uses" in what, job


def test_the_wheel_is_tried_with_torch_alone_pinned(workflows):
    """As `constraints.txt` pins it: the pattern that the workflow looks for has one line there, of torch."""
    steps = workflows["tests.yml"]["jobs"]["wheel"]["steps"]
    (install,) = re.findall(r"pip install dist/\*\.whl (.+)", "\n".join(step.get("run", "") for step in steps))
    (pattern,) = re.findall(r"""^"\$\(grep '(.+)' constraints.txt\)"$""", install)
    lines = re.findall(pattern + r".*", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert [re.fullmatch(r"torch==[\d.]+", line) is not None for line in lines] == [True]


@pytest.fixture(scope="module")
def dockerfile():
    """The instructions of the Dockerfile, one a line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_the_dockerfile_has_instructions_that_there_are(dockerfile):
    words = {line.split()[0] for line in dockerfile}
    assert words <= {"FROM", "ARG", "RUN", "COPY", "USER", "ENV", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert dockerfile[0].startswith("FROM")


def test_what_the_dockerfile_copies_is_there_and_not_ignored(dockerfile):
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    lines = [line.split() for line in dockerfile if line.startswith("COPY ") and "--from" not in line]
    copied = [word for words in lines for word in words[1:-1]]
    assert {"pyproject.toml", "README.md", "src", "constraints.txt"} <= set(copied)  # what the build reads
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert [name for name in copied if any(fnmatch.fnmatch(name, pattern) for pattern in ignored)] == []
    stages = {line.split()[-1] for line in dockerfile if line.startswith("FROM") and " AS " in line}
    assert {re.search(r"--from=(\w+)", line)[1] for line in dockerfile if "--from=" in line} <= stages


def test_the_dockerfile_installs_extras_that_there_are_under_our_constraints(dockerfile):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installs = [shlex.split(line) for line in dockerfile if "pip install" in line]
    assert len(installs) == 2
    for words in installs:
        assert words[words.index("-c") + 1] == "/source/constraints.txt"
        assert not any(re.match(r"torch\W", word) for word in words), "constraints.txt chooses torch's version"
    (extras,) = re.findall(r"/source\[([\w,]+)\]", installs[1][-1])
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    pythons = {re.fullmatch(r"FROM python:([\d.]+)-slim( AS \w+)?", line)[1] for line in dockerfile if "FROM" in line}
    assert len(pythons) == 1
    assert {f"Programming Language :: Python :: {version}" for version in pythons} <= set(project["classifiers"])


def test_the_container_runs_as_nobody_special_and_the_readme_says_how(dockerfile):
    assert [line for line in dockerfile if line.startswith("USER ")] == ["USER pellucid"]
    assert any(line.startswith("RUN useradd") and line.endswith(" pellucid") for line in dockerfile)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert 'docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" pellucid demo' in readme


@pytest.mark.slow
def test_every_module_is_imported_without_what_only_unix_has():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) == sum(1 for _ in (ROOT / "src/pellucid").rglob("*.py")) - 1
