"""Sphinx extension: markup that screen readers understand, where docutils and extensions write other."""

import re

# The start of a tag with an id; what stands in scripts is no markup.
WITH_ID = re.compile(r'<script\b.*?</script>|(<[a-z][\w-]*\b[^<>]*?) id="([^"]+)"', re.DOTALL)


def unique_ids(body):
    """A page's body where the first element of an id keeps it: all theorems come as ``proof-content``."""
    seen = set()

    def keep_first(found):
        tag, name = found[1], found[2]
        if tag is None or name not in seen:
            seen.add(name)
            return found[0]
        return tag

    return WITH_ID.sub(keep_first, body)


def mend(app, pagename, templatename, context, doctree):
    """Ids are unique; the entries of a bibliography are items of its list, their old role is out of use."""
    if "body" in context:
        body = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')
        context["body"] = unique_ids(body)


def setup(app):
    app.connect("html-page-context", mend, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
