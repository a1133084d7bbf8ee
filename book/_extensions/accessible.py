"""Sphinx extension: roles that screen readers understand, where docutils writes others."""


def mend_roles(app, pagename, templatename, context, doctree):
    """The entries of a bibliography are items of its list; their old role is no longer in use."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    app.connect("html-page-context", mend_roles, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
