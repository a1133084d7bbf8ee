"""Sphinx extension: markup that screen readers understand, where docutils and extensions write other."""

import re

# The start of a tag with an id; what stands in scripts is no markup.
WITH_ID = re.compile(r'<script\b.*?</script>|(<[a-z][\w-]*\b[^<>]*?) id="([^"]+)"', re.DOTALL)

# Two attributes with one description, of which docutils takes the first for the type of the second.
PAIR = re.compile(r"<strong>(\w+)</strong> \(<em>(\w+)</em><em>,</em>\)")
# The title of a solution: its space belongs before the link and not into it.
SOLUTION = re.compile(r'(<p class="admonition-title">Solution to)(<a [^>]*>) ')


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
    """Ids are unique, entries of a bibliography items of its list; names and titles read as they should."""
    if "body" in context:
        body = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')
        body = PAIR.sub(r"<strong>\2</strong>, <strong>\1</strong>", body)
        context["body"] = unique_ids(SOLUTION.sub(r"\1 \2", body))


def setup(app):
    app.connect("html-page-context", mend, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
