"""Sphinx extension: leave out of the built site what no page asks for.

The theme ships two thousand icons in one script that every page loads, of which the book uses some twenty;
MathJax comes in ten combinations, of which the pages load one. Both are trimmed when the site is built.
"""

import re
from pathlib import Path

ICON = re.compile(
    r"""(?P<name>"?[a-z0-9-]+"?):\[(?P<size>\d+,\d+),\[(?P<others>[^\]]*)\],"(?P<code>[0-9a-f]+)","""
    r"""(?:"[^"]*"|\[[^\]]*\])\]"""
)


def icons_used(folder: Path) -> set[str]:
    """Names of the icons in the pages and in the scripts that write into them."""
    files = [*folder.rglob("*.html"), *folder.glob("_static/*.js"), *folder.glob("_static/scripts/*theme.js")]
    return {name for file in files for name in re.findall(r"\bfa-([a-z0-9-]+)", file.read_text("utf-8"))}


def trim_icons(script: str, used: set[str]) -> str:
    """The icon script without the outlines of icons that are not used: their names stay."""

    def keep(icon: re.Match[str]) -> str:
        names = {icon["name"].strip('"'), *re.findall(r'"([^"]+)"', icon["others"])}
        if names & used:
            return icon[0]
        return f'{icon["name"]}:[{icon["size"]},[{icon["others"]}],"{icon["code"]}",""]'

    return ICON.sub(keep, script)


def trim_mathjax(folder: Path, pages: list[Path]) -> None:
    """Remove the combinations that no page loads; their parts stay, for MathJax's menu."""
    loaded = {name for page in pages for name in re.findall(r"mathjax/([\w-]+\.js)", page.read_text("utf-8"))}
    if loaded:
        for script in folder.glob("*.js"):
            if script.name not in loaded | {"core.js", "loader.js", "startup.js"}:
                script.unlink()


def lighten(app, exception):
    """Trim the site that was just built."""
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    script = folder / "_static" / "scripts" / "fontawesome.js"
    if script.exists():
        script.write_text(trim_icons(script.read_text("utf-8"), icons_used(folder)), "utf-8")
    trim_mathjax(folder / "_static" / "mathjax", list(folder.rglob("*.html")))
    for source_map in (folder / "_static").rglob("*.map"):  # for those who debug the theme
        source_map.unlink()


def setup(app):
    app.connect("build-finished", lighten, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
