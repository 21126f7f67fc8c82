"""Pages in a real browser, opened from a folder with the network off: complete, silent, styled, narrow enough to read."""

import pytest

pytestmark = pytest.mark.browser

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


def opened(browser, path, width):
    """Open a page and return it with everything that went wrong or tried to leave the machine."""
    context = next((each for each in browser.contexts), None) or browser.new_context(offline=True)
    faults = []

    def local_only(route):
        if route.request.url.startswith(("file://", "data:")):
            route.continue_()
        else:
            faults.append(f"asked for {route.request.url[:100]}")
            route.abort()

    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.route("**/*", local_only)
    page.on("console", lambda message: faults.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url[:100]}"))
    page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.goto(path.as_uri())
    page.wait_for_load_state("load")
    return page, faults


def all_pages(sites):
    return [
        path for folder in sites.values() for path in sorted(folder.rglob("*.html")) if "restricted" not in path.parts
    ]


@pytest.mark.parametrize("width", [360, 1200])
def test_every_page_opens_whole_and_silent(browser, sites, width):
    for path in all_pages(sites):
        page, faults = opened(browser, path, width)
        try:
            assert faults == [], path
            told = page.evaluate(
                """() => ({
                  lang: document.documentElement.lang, title: document.title, h1: document.querySelectorAll('h1').length,
                  wide: document.documentElement.scrollWidth - innerWidth, scripts: document.scripts.length,
                  font: getComputedStyle(document.body).fontFamily, margin: getComputedStyle(document.body).marginTop,
                  missing: [...document.images].filter(i => !i.complete || !i.naturalWidth || !i.alt).length,
                })"""
            )
            assert told["lang"] == "en-GB", path
            assert told["title"], path
            assert told["h1"] == 1, path
            assert told["scripts"] == 0, path
            assert told["missing"] == 0, path
            assert told["font"].startswith('"Fieldwork Sans"'), f"the style sheet does not apply on {path}"
            assert told["margin"] == "0px", path
            assert told["wide"] <= 0, f"{path} scrolls sideways at {width} px: {page.evaluate(WIDE)}"
            assert page.evaluate("document.fonts.check('16px Fieldwork Sans')"), path
        finally:
            page.close()


def test_every_text_is_dark_enough_on_its_ground(browser, sites):
    for path in all_pages(sites):
        page, _ = opened(browser, path, 1200)
        try:
            assert page.evaluate(LUMINANCE) == [], path
        finally:
            page.close()


def test_links_between_pages_lead_to_pages_and_places_that_exist(browser, sites):
    for folder in sites.values():
        first = folder / "index.html"
        page, _ = opened(browser, first, 1200)
        try:
            seen, todo = set(), [first.as_uri()]
            while todo:
                address = todo.pop()
                seen.add(address)
                page.goto(address)
                for link in page.eval_on_selector_all("a[href]", "links => links.map(a => a.href)"):
                    target, _, anchor = link.partition("#")
                    if not target.startswith("file://"):
                        continue
                    if target.endswith(".html") and target not in seen and target not in todo:
                        todo.append(target)
                    if anchor and target == address:
                        assert page.locator(f"[id='{anchor}']").count() == 1, link
            opened_pages = {path.as_uri() for path in folder.rglob("*.html") if "restricted" not in path.parts}
            assert seen == opened_pages, "pages that no link leads to, or links to pages that are not there"
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
            assert page.url.endswith("#main")
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
