"""What axe-core finds on a page that is serious or critical."""

from pathlib import Path

import axe_playwright_python

SCRIPT = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RUN = """async ([context, options]) => (await axe.run(context, options)).violations.map(v => ({
  name: v.id, impact: v.impact, help: v.help, places: v.nodes.map(node => node.html.slice(0, 160)),
}))"""
OPTIONS = {
    "resultTypes": ["violations"],
    "preload": False,
}  # preloading asks for style sheets at wrong places
# Formulas are hidden from screen readers, which get MathML beside them: boxes of their size stand for them.
BOXES = """() => {
  const sizes = [...document.querySelectorAll("mjx-math")].map(e => [e, e.getBoundingClientRect()]);
  for (const [e, { width, height }] of sizes) {
    e.replaceChildren();
    Object.assign(e.style, { display: "inline-block", width: `${width}px`, height: `${height}px` });
  }
}"""
# Whether a text can be read is measured for one text of each look: two elements without children look the
# same if they and all around them have the same tags, attributes and shade of a table's rows. A notebook has
# thousands of words of coloured code, in some twenty colours.
PRUNE = """() => {
  const numbers = new Map(), looks = new Map(), seen = new Set();
  const own = e => [...e.attributes].filter(a => !/^(id|href|src|alt|title|name|for)$/.test(a.name))
    .map(a => a.name + "=" + a.value).join(" ") + (e.localName === "tr" ? e.sectionRowIndex % 2 : "");
  const look = e => {
    if (!e) return 0;
    if (!looks.has(e)) {
      const words = `${look(e.parentElement)} ${e.localName} ${own(e)}`;
      if (!numbers.has(words)) numbers.set(words, numbers.size + 1);
      looks.set(e, numbers.get(words));
    }
    return looks.get(e);
  };
  for (const e of document.querySelectorAll("mjx-container")) e.remove();
  const twin = e => seen.has(look(e)) || !seen.add(look(e));
  for (const e of [...document.body.querySelectorAll(":not(:has(*))")].filter(twin)) e.remove();
}"""


def serious(page, **options):
    """Serious and critical violations, with the places."""
    context = {"exclude": [["mjx-math"]]}
    return [
        f"{v['name']} ({v['impact']}): {v['help']}: " + " | ".join(v["places"][:4])
        for v in page.evaluate(RUN, [context, {**OPTIONS, **options}])
        if v["impact"] in ("serious", "critical")
    ]


def violations(page, looks):
    """All that axe-core finds on a page, which is spoilt by it.

    Args:
        page: Playwright's page, with formulas set.
        looks: Functions that change the theme and the width: in each of them texts have to be readable.
    """
    page.evaluate(SCRIPT)
    page.evaluate(BOXES)
    found = serious(page, rules={"color-contrast": {"enabled": False}})
    page.evaluate(PRUNE)
    for change in looks:
        change()
        found += serious(page, runOnly=["color-contrast"])
    return found
