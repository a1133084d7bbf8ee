"""Sphinx extension: leave out the scripts of sphinx-thebe, which jupyter-book loads even where unused.

They arrive twice, and the second copy is an error on the console of every page.
"""


def drop_thebe(app, pagename, templatename, context, doctree):
    """Remove them from the scripts of a page."""
    scripts = context.get("script_files", [])
    context["script_files"] = [
        s for s in scripts if "thebe" not in str(s).lower() + str(getattr(s, "attributes", ""))
    ]


def setup(app):
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
