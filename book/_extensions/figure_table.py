"""Sphinx extension: the directive ``figure-table`` lists every figure of the book and what makes it.

Figures are found in the notebooks, and so are the result files that each is drawn from: the names are
followed from ``results.stored("...")`` through the cells. Command, preset, hardware and time come from the
result file, or, for a figure that is computed on its page, from the run of the page in this build.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from gfs_tutorial.results import hardware

ROOT = Path(__file__).parents[2]

# Result files that no cell of a notebook reads by name: what becomes of their numbers.
ELSEWHERE = {
    "mnist-quick.json": "the figure of the README, by `python benchmarks/readme_figure.py`",
    "variations-quick.json": "a test of the package, which runs the command again and compares",
    "benchmark-selection-small.json": "small networks, for [](greedy-forward-selection)",
    "benchmark-page-load.json": "size and loading time of this book, for the README",
    "benchmark-gate.json": "how long the README's two commands take",
    "benchmark-imagenet-estimate.json": "the costs of [](scale)",
    "shipped-checkpoints.json": "the trained networks that come with the package, see [](channels)",
}


@dataclass(frozen=True)
class Figure:
    """A figure of a notebook: its page, target (if it has one), caption, and the files it is drawn from."""

    page: str
    name: str | None
    caption: str
    files: tuple[str, ...]


def chapters(root=ROOT):
    """The pages of the book, in its order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    parts = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *(page["file"] for c in parts for page in (c, *c.get("sections", ())))]


def cells_with_files(path):
    """Code cells of a notebook, each with the result files whose numbers reach it."""
    origin: dict[str, set[str]] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        source = re.sub(r"^(\s*)%.*$", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE)  # magics
        reached = set()
        for statement in ast.parse(source).body:
            files = files_of(statement, origin)
            reached |= files
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                origin.update(dict.fromkeys(bound(statement), files))
                for name in changed(statement) & set(origin):
                    origin[name] = origin[name] | files
        yield cell, reached


def files_of(statement, origin):
    """Result files that a statement reads, or uses by names that hold their numbers."""
    found, own = set(), local(statement)
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "stored" and node.args:
            found |= {c.value for c in ast.walk(node.args[0]) if isinstance(c, ast.Constant)}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in own:
            found |= origin.get(node.id, set())
    return found


def stores(tree):
    """Names that a piece of code gives a value."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {node.id for node in names if isinstance(node.ctx, ast.Store)}


def in_comprehensions(statement):
    """Names that live in comprehensions only."""
    loops = [node.target for node in ast.walk(statement) if isinstance(node, ast.comprehension)]
    return set().union(*map(stores, loops))


def local(statement):
    """Names whose value inside a statement comes from the statement itself."""
    own = in_comprehensions(statement)
    if isinstance(statement, ast.For | ast.FunctionDef):
        own |= stores(statement) | {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
    return own


def bound(statement):
    """Names that a statement gives a new value."""
    if isinstance(statement, ast.FunctionDef):
        return {statement.name}
    return stores(statement) - in_comprehensions(statement)


def changed(statement):
    """Names whose value a statement may change in place: ``rows.append(...)``, ``found[key] = ...``."""
    values = [node.value for node in ast.walk(statement) if isinstance(node, ast.Attribute | ast.Subscript)]
    return {node.id for node in values if isinstance(node, ast.Name)}


def figures(root=ROOT):
    """Every figure of the notebooks, in the order of the book."""
    found = []
    for page in chapters(root):
        path = root / f"{page}.ipynb"
        for cell, files in cells_with_files(path) if path.exists() else ():
            markup = cell["metadata"].get("mystnb", {})
            figure = markup.get("figure", {})
            if label := sliders(cell):
                found.append(Figure(page, None, label, tuple(sorted(files))))
            elif "image" in markup or figure:
                caption = figure.get("caption") or markup["image"]["alt"]
                found.append(Figure(page, figure.get("name"), caption, tuple(sorted(files))))
    return found


def sliders(cell):
    """What a figure with sliders says of itself to those who cannot see it; ``None`` of other cells."""
    shown = "".join("".join(output.get("data", {}).get("text/html", "")) for output in cell["outputs"])
    label = re.search(r'class="gfs-figure"[^>]*aria-label="([^"]+)"', shown)
    return f"With sliders – {label[1][0].lower()}{label[1][1:]}" if label else None


def uses(root=ROOT):
    """For every result file that a notebook reads: the pages that use it, in the order of the book."""
    found: dict[str, list[str]] = {}
    for page in chapters(root):
        path = root / f"{page}.ipynb"
        for _, files in cells_with_files(path) if path.exists() else ():
            for name in files:
                if page not in found.setdefault(name, []):
                    found[name].append(page)
    return found


def title_of(caption, length=56):
    """The caption up to its first full stop or colon after a word, cut between words where it is long."""
    ends = re.finditer(r"(?<=[^\d\s])[.:](?:\s|$)", caption)
    starts = (caption[: end.start()] for end in ends)
    first = next((start for start in starts if re.sub(r"\$[^$]*\$", "", start).strip()), caption)
    first = first.replace("|", "\\|")
    if len(first) <= length or "$" in first:
        return first
    return f"{first[:length].rpartition(' ')[0].rstrip(',')} …"


def records(name, root=ROOT):
    """The provenances in a result file: most have one, a collection has one for each entry."""
    content = json.loads((root / "results" / name).read_text(encoding="utf-8"))
    if "command" in content:
        return [content]
    return [entry["provenance"] for entry in content.values()]


def made_by(record):
    """Command, preset, hardware and time of a result, as cells of a table."""
    command = re.sub(r" --save \S+", "", record["command"]).replace("GFS_DATA_ROOT=... ", "")
    return (
        f"`{command}`",
        record.get("preset", "–"),
        record["hardware"].replace("(R)", ""),
        taken(record),
    )


def taken(record):
    """The time of a result; of one that did not note it as a whole, that of the rows that did."""
    if "seconds" in record:
        return duration(record["seconds"])
    rows = record.get("rows", ())
    seconds = sum(row.get("seconds", 0) for row in rows if isinstance(row, dict))
    return f"the timed parts {duration(seconds)}" if seconds else "not recorded"


def duration(seconds):
    """A time for people: seconds up to two minutes, then minutes, then hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def table(runtimes, root=ROOT):
    """The lines of the page, in Markdown.

    Args:
        runtimes: Seconds that each notebook took in this build, by page; pages may be missing.
        root: The folder of the book's source.
    """
    here = hardware().replace("(R)", "")
    lines = ["| figure | chapter | command | preset | hardware | time |", "|---|---|---|---|---|---|"]
    for figure in figures(root):
        title = title_of(figure.caption)
        name = f"[{title}](#{figure.name})" if figure.name else title
        chapter = f"[](/{figure.page})"
        if not figure.files:
            seconds = runtimes.get(figure.page)
            run, place = (f"page, {duration(seconds)}", here) if seconds else ("page", "any")
            lines.append(f"| {name} | {chapter} | run the page | live | {place} | {run} |")
        for file in figure.files:
            for record in records(file, root):
                lines.append(f"| {name} | {chapter} | {' | '.join(made_by(record))} |")
    return lines


def file_table(root=ROOT):
    """Every result file, where it is used, and what made it."""
    lines = ["| file | used in | command | hardware | date | time |", "|---|---|---|---|---|---|"]
    by_notebooks = uses(root)
    for path in sorted((root / "results").glob("*.json")):
        pages = [f"[](/{page})" for page in by_notebooks.get(path.name, ())]
        places = ", ".join(pages) or ELSEWHERE.get(path.name, "")
        for record in records(path.name, root):
            command, _, hardware, time = made_by(record)
            line = f"| `{path.name}` | {places} | {command} | {hardware} | {record['date'][:10]} | {time} |"
            lines.append(line)
    return lines


class FigureTable(SphinxDirective):
    """Writes :func:`table`, or :func:`file_table` with the argument ``files``."""

    optional_arguments = 1

    def run(self):
        execution = getattr(self.env, "nb_metadata", {})
        runtimes = {page: (data.get("exec_data") or {}).get("runtime") for page, data in execution.items()}
        lines = file_table() if self.arguments == ["files"] else table(runtimes)
        parent = nodes.container(classes=["figure-table", "cards"])
        self.state.nested_parse(StringList(lines, source=self.env.docname), self.content_offset, parent)
        return [parent]


def read_last(app, env, docnames):
    """Read the page with the table after the notebooks, so that it knows how long they ran."""
    for page in [name for name in docnames if name.endswith("/reproduce")]:
        docnames.remove(page)
        docnames.append(page)


def setup(app):
    app.add_directive("figure-table", FigureTable)
    app.connect("env-before-read-docs", read_last)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
