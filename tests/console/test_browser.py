"""The pages in a real Chromium: accessible, readable on a phone, usable by keyboard and without scripts."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from ledger import Ledger

# One Chromium for all of these where tests run in several processes.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
INCIDENT = "/incidents/INC-2026-0001"
PAGES = ["/", INCIDENT, "/entries/0", "/problems/event-conflict", "/nope"]
TOKEN = "correct-horse-battery-staple"

COUNT_VIOLATIONS = """
window.policyViolations = [];
document.addEventListener("securitypolicyviolation", (event) => policyViolations.push(event.violatedDirective));
"""
# Whatever a keyboard must be able to reach, and what holds the focus now.
REACHABLE = """() => [...document.querySelectorAll(
    "a[href], button, input:not([type=hidden]), summary, [tabindex='0']")]
  .filter((element) => element.checkVisibility({contentVisibilityAuto: true}) && element.getClientRects().length)
  .length"""
FOCUSED = """() => {
  const element = document.activeElement, style = getComputedStyle(element);
  const box = element.getClientRects()[0];
  const seen = document.elementFromPoint(box.x + Math.min(box.width, 20) / 2, box.y + Math.min(box.height, 20) / 2);
  window.focusOrder = window.focusOrder || [];
  const place = focusOrder.indexOf(element);
  if (place < 0) focusOrder.push(element);
  return {again: place >= 0, outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    covered: !(seen && (element.contains(seen) || seen.contains(element))), tag: element.tagName,
    text: element.textContent.trim().slice(0, 40)};
}"""


@pytest.fixture(scope="module")
def browser(absent: Callable[[str], NoReturn]) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        absent("no Chromium on this machine: the console's browser tests did not run (apt install chromium)")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(SWITCHES))
        yield opened
        opened.close()


OpenPage = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[OpenPage]:
    """Opens a page in a context of its own: `visit(url, width=..., color_scheme=...)`."""
    contexts: list[BrowserContext] = []

    def go(url: str, *, width: int = 1280, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(COUNT_VIOLATIONS)
        page.goto(url)
        return page

    yield go
    for context in contexts:
        context.close()


def unfold(page: Page) -> None:
    """Open every `<details>`, so that what is folded is looked at as well."""
    page.evaluate("() => document.querySelectorAll('details').forEach((part) => { part.open = true; })")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_and_the_content_policy_find_nothing(visit: OpenPage, address: str, path: str, scheme: str) -> None:
    page = visit(address + path, color_scheme=scheme)
    unfold(page)
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}})
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("policyViolations") == []
    wanted = "rgb(17, 22, 27)" if scheme == "dark" else "rgb(246, 247, 248)"
    # The style sheet was really loaded and follows the reader's scheme.
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == wanted


@pytest.mark.parametrize("path", PAGES)
def test_no_page_scrolls_sideways_at_320_pixels_or_at_twice_the_text_size(
    visit: OpenPage, address: str, path: str
) -> None:
    page = visit(address + path, width=320)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.set_viewport_size({"width": 640, "height": 800})
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert page.evaluate("document.documentElement.scrollWidth") <= 640


@pytest.mark.parametrize("path", PAGES)
def test_the_keyboard_reaches_everything_in_sight_of_its_user(visit: OpenPage, address: str, path: str) -> None:
    page = visit(address + path)
    expected = page.evaluate(REACHABLE)
    reached = []
    for _ in range(expected + 5):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUSED)
        if focus["again"] or focus["tag"] == "BODY":
            break
        assert focus["outlined"], focus
        assert not focus["covered"], focus
        reached.append(focus)
    assert reached[0]["text"] == "Skip to the content"
    assert len(reached) == expected


def test_the_skip_link_leads_past_the_header(visit: OpenPage, address: str) -> None:
    page = visit(address + INCIDENT)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_everything_works_without_scripts(visit: OpenPage, address: str, ledger: Ledger) -> None:
    page = visit(address + "/", java_script_enabled=False)
    page.get_by_role("link", name="Customer bucket").first.click()
    assert page.get_by_role("heading", level=1).inner_text().startswith("Customer bucket")
    reason = page.get_by_text("A personal data breach").first
    assert not reason.is_visible()
    page.get_by_text("Why this applies").first.click()
    assert reason.is_visible()
    page.get_by_role("region", name="Affected people").or_(page.get_by_text("2,044")).first.wait_for()
    page.get_by_role("link", name="entry 0").first.click()
    page.get_by_text("Proof", exact=True).click()
    assert "c2sp.org/tlog-proof" in page.content()
    assert ledger.size() == 2  # and the look was recorded


def test_a_hostile_title_stays_text(visit: OpenPage, address: str) -> None:
    page = visit(address + INCIDENT)
    raised: list[str] = []
    page.on("dialog", lambda dialog: (raised.append(dialog.message), dialog.dismiss()))
    page.reload()
    assert raised == []
    assert page.locator("h1 b, h1 script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_signing_in_by_keyboard(visit: OpenPage, address_with_token: str, scheme: str) -> None:
    page = visit(address_with_token + INCIDENT, color_scheme=scheme, width=320)
    assert page.url.endswith("/login?next=/incidents/INC-2026-0001")
    page.get_by_label("Token of this server").fill("a guess")
    page.keyboard.press("Enter")
    assert "not the token" in page.get_by_role("alert").inner_text()
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}})
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.get_by_label("Token of this server").fill(TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_url("**/incidents/*")
    assert page.get_by_role("heading", level=1).inner_text().startswith("Customer bucket")
    assert "This is a drill" in page.get_by_role("note").inner_text()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("document.cookie") == ""
    assert Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}}).violations_count == 0
    page.get_by_role("button", name="Sign out").click()
    page.goto(address_with_token + "/")
    assert "/login" in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_public_announcements(visit: OpenPage, address_with_announcements: str, scheme: str) -> None:
    page = visit(address_with_announcements + "/notices/", color_scheme=scheme, width=320)
    for name in ("Announcements", "About your data", "Sobre sus datos"):
        assert page.get_by_role("heading", level=1).inner_text() == name
        # Published pages leave their background to the browser's own dark scheme, which axe takes for white.
        rules = {"color-contrast": {"enabled": scheme == "light" or name == "Announcements"}}
        found = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}, "rules": rules})
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("policyViolations") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        if name != "Sobre sus datos":
            page.get_by_role("link", name="About your data" if name == "Announcements" else "Español").click()
            page.wait_for_load_state()
    # The page keeps its own style sheet under our policy.
    assert page.evaluate("getComputedStyle(document.body).maxWidth") == "640px"


def test_the_outline_that_a_screen_reader_hears(visit: OpenPage, address: str) -> None:
    snapshot = visit(address + INCIDENT).locator("main").aria_snapshot()
    headings = [line.strip(" -") for line in snapshot.splitlines() if "- heading" in line and "[level=2]" in line]
    assert [heading.split('"')[1] for heading in headings] == [
        "What must happen next, by whom, by when",
        "Clocks",
        "Affected people",
        "Facts",
        "Notices and approvals",
        "Dispatch",
        "Timeline",
    ]
    assert "img" not in snapshot  # icons are silent; the word beside each says it
