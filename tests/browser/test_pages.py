"""Pages in a real browser, opened from a folder with the network off: complete, silent, styled, narrow enough to read."""

import importlib.util
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LUMINANCE = """
() => {
  const channel = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const parse = text => { const m = text.match(/[\\d.]+/g).map(Number); return { rgb: m.slice(0, 3), a: m.length > 3 ? m[3] : 1 }; };
  const light = rgb => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
  const ground = node => {
    for (let n = node; n; n = n.parentElement) { const c = parse(getComputedStyle(n).backgroundColor); if (c.a === 1) return c.rgb; }
    return [255, 255, 255];
  };
  const weak = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), node = walker.currentNode.parentElement;
    if (!text || !node.getClientRects().length) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color).rgb), light(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${ratio.toFixed(2)} ${text.slice(0, 40)}`);
  }
  return weak;
}
"""
WIDE = """
() => [...document.querySelectorAll('body *')]
  .filter(n => n.getBoundingClientRect().right > innerWidth + 1 && !n.closest('.table, .drawing, pre, .unseen, thead'))
  .map(n => `${n.tagName}.${n.className}`)
"""


def watched(browser):
    """Return a new page with the list of everything that goes wrong in it or tries to leave the machine."""
    context = next((each for each in browser.contexts), None) or browser.new_context(offline=True)
    faults = []

    def local_only(route):
        if route.request.url.startswith(("file://", "data:")):
            route.continue_()
        else:
            faults.append(f"asked for {route.request.url[:100]}")
            route.abort()

    page = context.new_page()
    page.route("**/*", local_only)
    page.on("console", lambda message: faults.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url[:100]}"))
    page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    return page, faults


def go(page, path, width):
    """Load a file into a page of that width."""
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path.as_uri())
    page.wait_for_load_state("load")


def opened(browser, path, width):
    """Open a page and return it with everything that went wrong or tried to leave the machine."""
    page, faults = watched(browser)
    go(page, path, width)
    return page, faults


def all_pages(sites):
    """Every page of a report that was named; of the built-in ones every page, and one role and one stage of the many alike."""
    found = [
        path for folder in sites.values() for path in sorted(folder.rglob("*.html")) if "restricted" not in path.parts
    ]
    if "named" in sites:
        return found
    first = {(path.parent, path.parent.name): path for path in reversed(found)}
    return [path for path in found if path.parent.name not in {"roles", "stages"} or path in first.values()]


TOLD = """() => ({
  lang: document.documentElement.lang, title: document.title, h1: document.querySelectorAll('h1').length,
  scripts: document.scripts.length, font: getComputedStyle(document.body).fontFamily,
  margin: getComputedStyle(document.body).marginTop, loaded: document.fonts.check('16px Fieldwork Sans'),
})"""
# A drawing further down the page is fetched when it comes near.
DRAWN = """async () => {
  const images = [...document.images];
  images.forEach(image => { image.loading = 'eager'; });
  await Promise.all(images.map(image => image.decode().catch(() => 0)));
  return images.filter(image => !image.complete || !image.naturalWidth || !image.alt).length;
}"""
LINKS = """() => [
  [...document.querySelectorAll('a[href]')].map(a => a.href), [...document.querySelectorAll('[id]')].map(n => n.id),
]"""
AXE = """([tags, contrast]) => axe.run({
  resultTypes: ['violations'], runOnly: { type: 'tag', values: tags }, rules: { 'color-contrast': { enabled: contrast } },
})"""
SIDEWAYS = "document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(scope="module")
def seen(browser, sites):
    """What a browser tells of every page: each is opened once, at desktop width, then made as narrow as a phone."""
    axe = (Path(importlib.util.find_spec("axe_playwright_python").origin).parent / "axe.min.js").read_text()
    told = {}
    # Of contrast, which takes axe longer than all else, it judges one report: they have one style sheet, and LUMINANCE reads all.
    contrast = next(iter(sites.values()))
    # One page for all: each new one starts a process, which reads the style sheet and axe as if for the first time.
    page, faults = watched(browser)
    try:
        for path in all_pages(sites):
            go(page, path, 1200)
            told[path] = page.evaluate(TOLD)
            told[path] |= {
                "missing": page.evaluate(DRAWN),
                "weak": page.evaluate(LUMINANCE),
                "links": page.evaluate(LINKS),
            }
            wide = {}
            for width in (1200, 360):
                page.set_viewport_size({"width": width, "height": 800})
                wide[width] = page.evaluate(WIDE) if page.evaluate(SIDEWAYS) > 0 else []
            # Whole, as a reader meets it who has opened everything; axe looks at what is shown.
            page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
            told[path]["weak"] += page.evaluate(LUMINANCE)
            page.evaluate(axe)
            found = page.evaluate(AXE, [TAGS, path.is_relative_to(contrast)])
            told[path]["axe"] = [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]]
            told[path]["rules"] = len(found["passes"])
            told[path]["wide"] = wide
            told[path]["faults"] = faults.copy()
            faults.clear()
    finally:
        page.close()
    return told


def test_every_page_opens_whole_and_silent(seen):
    for path, told in seen.items():
        assert told["faults"] == [], path
        assert told["lang"] == "en-GB", path
        assert told["title"], path
        assert told["h1"] == 1, path
        assert told["scripts"] == (path.name in {"explorer.html", "figures.html", "search.html"}), path
        assert told["missing"] == 0, path
        assert told["font"].startswith('"Fieldwork Sans"'), f"the style sheet does not apply on {path}"
        assert told["margin"] == "0px", path
        assert told["loaded"], path


@pytest.mark.parametrize("width", [360, 1200])
def test_no_page_scrolls_sideways(seen, width):
    assert {path: told["wide"][width] for path, told in seen.items() if told["wide"][width]} == {}


def test_every_text_is_dark_enough_on_its_ground(seen):
    assert {path: told["weak"] for path, told in seen.items() if told["weak"]} == {}


def test_axe_finds_no_fault_of_accessibility_on_any_page(seen):
    assert {path: told["axe"] for path, told in seen.items() if told["axe"]} == {}
    assert all(told["rules"] > 15 for told in seen.values()), "axe looked at nothing"


def test_the_explorer_filters_and_sorts_by_keyboard(browser, sites):
    for folder in sites.values():
        page, faults = opened(browser, folder / "explorer.html", 1200)
        try:
            rows, status = page.locator("tbody tr"), page.locator("[role=status]")
            before = rows.count()
            page.locator("#filter-2").focus()
            page.keyboard.press("End")
            role = page.locator("#filter-2").input_value().removeprefix("=")
            assert set(page.locator("tbody tr td:nth-child(3)").all_inner_texts()) == {role}
            assert 0 < rows.count() < before
            for _ in range(20):
                page.keyboard.press("Tab")
                if page.evaluate("document.activeElement.textContent") == "Estimate":
                    break
            shown = page.locator("tbody td:nth-child(6)")
            for key, turn in (("Enter", 1), ("Space", -1)):
                page.keyboard.press(key)
                values = [float(text) for text in shown.evaluate_all("all => all.map(n => n.dataset.key)") if text]
                assert values == sorted(values, reverse=turn < 0), "not in order"
            assert page.locator("th[aria-sort=descending]").inner_text().strip().startswith("Estimate")
            assert "sorted by estimate, greatest first" in status.inner_text()
            page.locator("[data-clear]").focus()
            page.keyboard.press("Enter")
            assert rows.count() == before
            assert page.locator("th[aria-sort]").count() == 0
            page.locator("#filter-text").focus()
            page.keyboard.type("no such words")
            assert status.inner_text() == "0 estimates."
            assert faults == []
        finally:
            page.close()


def test_the_gallery_is_filtered_by_keyboard(browser, sites):
    for name, folder in sites.items():
        page, faults = opened(browser, folder / "figures.html", 360)
        try:
            plates = page.locator("section.plate:visible")
            whole = plates.count()
            if not whole:
                assert name == "nothing"
                continue
            status = page.locator("[role=status]")
            assert status.inner_text() == f"{whole} figures."
            page.locator("#filter-roles").focus()
            page.keyboard.press("End")
            role = page.locator("#filter-roles").input_value()
            shown = plates.evaluate_all("all => all.map(n => n.dataset.roles.split(' '))")
            assert 0 < len(shown) < whole
            assert all(role in each for each in shown)
            assert status.inner_text() == f"{len(shown)} of {whole} figures."
            page.locator("[data-clear]").focus()
            page.keyboard.press("Enter")
            assert plates.count() == whole
            assert faults == []
        finally:
            page.close()


def test_the_search_finds_a_claim(browser, sites):
    for folder in sites.values():
        page, faults = opened(browser, folder / "search.html", 360)
        try:
            first = page.locator("section", has=page.locator("h2", has_text="Claims")).locator("li a").last
            words, target = first.inner_text(), first.get_attribute("href")
            page.locator("#search-text").focus()
            page.keyboard.type(words.upper()[:60])
            visible = page.locator("section li a:visible")
            assert target in visible.evaluate_all("all => all.map(n => n.getAttribute('href'))")
            assert visible.count() < page.locator("section li").count()
            page.keyboard.type(" zzzz")
            assert visible.count() == 0
            assert page.locator("[role=status]").inner_text().startswith("0 of ")
            assert faults == []
        finally:
            page.close()


def test_without_a_script_the_whole_table_and_the_whole_index_are_there(browser, sites):
    context = browser.new_context(offline=True, java_script_enabled=False)
    try:
        for folder in sites.values():
            page = context.new_page()
            page.goto((folder / "explorer.html").as_uri())
            source = (folder / "explorer.html").read_text()
            assert page.locator("tbody tr").count() == source.count('<tr><th scope="row">') > 0
            assert not page.locator(".controls").is_visible()
            page.goto((folder / "figures.html").as_uri())
            assert page.locator("section.plate:visible").count() == page.locator("section.plate").count()
            assert not page.locator("main [data-controls]:visible").count()
            page.goto((folder / "search.html").as_uri())
            assert page.locator("main li:visible").count() == page.locator("main li").count() > 0
            assert not page.locator(".controls").is_visible()
            page.close()
    finally:
        context.close()


def test_links_between_pages_lead_to_pages_and_places_that_exist(browser, sites, seen):
    known = {path.as_uri(): told["links"] for path, told in seen.items()}
    for folder in sites.values():
        first = folder / "index.html"
        page, _ = opened(browser, first, 1200)
        try:
            found, todo = set(), [first.as_uri()]
            while todo:
                address = todo.pop()
                found.add(address)
                if address not in known:
                    page.goto(address)
                    known[address] = page.evaluate(LINKS)
                links, ids = known[address]
                for link in links:
                    target, _, anchor = link.partition("#")
                    if not target.startswith("file://"):
                        continue
                    if target.endswith(".html") and target not in found and target not in todo:
                        todo.append(target)
                    if anchor and target == address:
                        assert ids.count(anchor) == 1, link
            opened_pages = {path.as_uri() for path in folder.rglob("*.html") if "restricted" not in path.parts}
            assert found == opened_pages, "pages that no link leads to, or links to pages that are not there"
        finally:
            page.close()


def test_the_keyboard_reaches_the_content_first_and_wide_tables(browser, sites):
    for folder in sites.values():
        page, _ = opened(browser, folder / "index.html", 360)
        try:
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.className") == "skip"
            box = page.locator(".skip").bounding_box()
            assert box is not None
            assert box["x"] >= 0
            page.keyboard.press("Enter")
            page.wait_for_url(re.compile("#main$"))  # the browser follows the link when it gets to it
            assert page.locator(".table:not([tabindex='0'])").count() == 0
        finally:
            page.close()


def test_details_open_without_a_script(browser, sites):
    for folder in sites.values():
        path = folder / "dictionary.html"
        page, _ = opened(browser, path, 1200)
        try:
            first = page.locator("details").first
            first.locator("summary").click()
            assert first.evaluate("node => node.open")
        finally:
            page.close()


def test_pages_print_with_their_content_and_without_their_navigation(browser, sites):
    for folder in sites.values():
        page, _ = opened(browser, folder / "index.html", 1200)
        try:
            page.emulate_media(media="print")
            assert not page.locator("nav").is_visible()
            assert page.locator("h1").is_visible()
            assert page.pdf(format="A4").startswith(b"%PDF")
        finally:
            page.close()


def test_the_policy_of_the_page_stops_what_is_not_its_own(browser, sites):
    """Put a script and a style into the page as an attacker would: neither may take effect."""
    folder = next(iter(sites.values()))
    text = (folder / "index.html").read_text()
    worse = text.replace("</main>", "<script>document.title = 'taken'</script><style>h1 { color: red }</style></main>")
    changed = folder / "changed.html"
    changed.write_text(worse)
    try:
        page, faults = opened(browser, changed, 1200)
        try:
            assert page.title() != "taken"
            assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") != "rgb(255, 0, 0)"
            assert faults
        finally:
            page.close()
    finally:
        changed.unlink()
