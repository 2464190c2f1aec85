"""What the site has beyond the pages of docs/: the Python API, the notebooks, and what pages link to elsewhere.

MkDocs calls `on_files`, `on_page_markdown` and `on_page_content` (`hooks` in mkdocs.yml). Pages
stay as GitHub shows them; their links are changed on the way.
"""

from __future__ import annotations

import html as html_text
import json
import posixpath
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from griffe import Extension
from mkdocs.structure.files import File

import pellucid
from pellucid.report.pages.page_templates import with_options

if TYPE_CHECKING:
    from griffe import Object
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

TOP = Path(__file__).resolve().parents[1]
PROJECT = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
GLOSSARY = "glossary.md"
QUESTIONS = "questions.md"
ELSEWHERE = "project"  # the folder of the site that holds what lies outside docs/
API = {  # page, its title, and the module whose public names it lists
    "types": ("Types", "pellucid.types"),
    "data": ("Data", "pellucid.data"),
    "models": ("Models", "pellucid.models"),
    "training": ("Training", "pellucid.training"),
    "attacks": ("Attacks", "pellucid.attacks"),
    "explainers": ("Explanations", "pellucid.explainers"),
    "evaluation": ("Evaluation", "pellucid.evaluation"),
    "report": ("Reports", "pellucid.report"),
}
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here, and the files and folders that pages link to and the site would not have."""
    for name, (title, module) in API.items():
        files.append(File.generated(config, f"api/{name}.md", content=f"# {title}\n\n::: {module}\n"))
    files.append(File.generated(config, "api/verbs.md", content=verbs_page()))
    for notebook in sorted((TOP / "docs" / "notebooks").glob("*.ipynb")):
        page = f"notebooks/{notebook.stem}.md"
        files.append(File.generated(config, page, content=notebook_page(json.loads(notebook.read_text("utf-8")))))
    for name in PROJECT:
        files.append(File.generated(config, f"{ELSEWHERE}/{name}", abs_src_path=str(TOP / name)))
    pages = [file for file in files if file.is_documentation_page()]
    while pages:
        linked = linked_files(pages, files, config)
        for file in linked:
            files.append(file)
        pages = [file for file in linked if file.is_documentation_page()]  # whose own links are followed next
    return files


def linked_files(pages: list[File], files: Files, config: MkDocsConfig) -> list[File]:
    """What pages link to outside docs/, and folders, as files that the site does not have yet."""
    linked = {}
    for page in pages:
        for _, link, _ in LINK.findall(page.content_string):
            target = repository_path(page.src_uri, link)
            place = site_path(target)
            if not target or place in files.src_uris:
                continue
            if (TOP / target).is_dir():
                linked[place] = File.generated(config, place, content=folder_page(TOP / target))
            elif (TOP / target).is_file() and not target.startswith("docs/"):
                linked[place] = File.generated(config, place, abs_src_path=str(TOP / target))
    return list(linked.values())


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Point links at where the site has their targets; a word that is searched for, the glossary has first."""
    if page.file.src_uri == GLOSSARY:
        page.meta["search"] = {"boost": 2000}  # above what the words of a title count
    return LINK.sub(lambda link: link[1] + site_link(page.file.src_uri, link[2]) + link[3], markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Let no line end within an option of a command; mark the tables of questions, which a phone shows as lists."""
    html = re.sub(r"(?<=<code>)[^<]*--[^<]*(?=</code>)", lambda code: with_options(html_text.unescape(code[0])), html)
    if page.file.src_uri == QUESTIONS:
        html = html.replace("<table>", '<div class="questions"><table>').replace("</table>", "</table></div>")
    return html


class PluralExamples(Extension):
    """Our docstrings say `Example:`; Griffe knows `Examples:`."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Change the heading in a docstring."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)


def verbs_page() -> str:
    """Each name of `import pellucid as pl`, and the results that the verbs return."""
    parts = [
        "# Verbs",
        "`import pellucid as pl` has these names. Every verb returns a `Result`, described at the end.",
    ]
    for name, place in pellucid.VERBS.items():
        module, attribute = place.split(":")
        parts.append(f"## pl.{name}")
        if module in dict(API.values()).values():  # another page describes it
            parts.append(f"The same as [{module}.{attribute}][].")
            continue
        source = Path(str(find_spec(module).origin)).read_text("utf-8")  # type: ignore[union-attr]
        results = re.findall(r"^class (\w+)\((?:Result|Figures)\)", source, re.MULTILINE)
        parts += [object_text(module, item) for item in (attribute, *results)]
    return "\n\n".join([*parts, "## What every verb returns", object_text("pellucid.utils.result", "Result")]) + "\n"


def object_text(module: str, name: str) -> str:
    """What has mkdocstrings write about one object, below a heading of the second level."""
    options = "heading_level: 3\nshow_root_heading: true\nshow_root_full_path: false"
    return f"::: {module}.{name}\n    options:\n" + "\n".join(f"        {line}" for line in options.splitlines())


def folder_page(folder: Path) -> str:
    """A list of the files in a folder that has no page of its own."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return f"# {folder.name}\n\n" + "".join(f"- [{name}]({name})\n" for name in names)


def repository_path(page: str, link: str) -> str:
    """Where a link of a page leads, from the top of the repository; empty for one to elsewhere."""
    if re.match(r"[a-z]+:", link):
        return ""
    made = f"{ELSEWHERE}/"
    folder = posixpath.dirname(page.removeprefix(made) if page.startswith(made) else f"docs/{page}")
    return posixpath.normpath(posixpath.join(folder, link))


def site_path(target: str) -> str:
    """Where the site has a file of the repository."""
    if (TOP / target).is_dir():
        target = f"{target}/README.md"
    if target.startswith("docs/notebooks/"):
        target = re.sub(r"\.ipynb$", ".md", target)
    if target == "README.md":
        target = "docs/README.md"
    return target.removeprefix("docs/") if target.startswith("docs/") else f"{ELSEWHERE}/{target}"


def site_link(page: str, link: str) -> str:
    """The link as the site needs it."""
    target = repository_path(page, link)
    return posixpath.relpath(site_path(target), posixpath.dirname(page) or ".") if target else link


def notebook_page(notebook: dict[str, Any]) -> str:
    """A notebook with its outputs as Markdown."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [output_text(output) for output in cell["outputs"]]
    return "\n\n".join(parts) + "\n"


def output_text(output: dict[str, Any]) -> str:
    """One output: a picture, a table or text."""
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    data = {kind: "".join(value) for kind, value in output["data"].items()}
    if "image/png" in data:
        return f'<img alt="{data.get("text/plain", "")}" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/html" in data:
        return f"<div>{data['text/html']}</div>"
    return f"```text\n{data['text/plain']}\n```"
