"""A real browser for tests: headless Chromium, and what every page that is made here must withstand in it."""

import json
import re
import shutil
import tarfile

import pytest

from analysis_lib.core.errors import UserError
from analysis_lib.core.packages import npm_archive

MISSING = "{} is missing; `make setup` and `apt-get install chromium chromium-driver` install what shows pages"
FLAGS = [
    "headless",
    "no-sandbox",  # root, as in a container, cannot have one
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "proxy-server=127.0.0.1:9",  # nobody listens there: what lies outside this machine cannot be had
]
AXE = (
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
# What reaches beyond the window and lies in no box of its own that scrolls; a theme may hide this from scrollWidth.
TOO_WIDE = """
const scrolls = box => box && box != document.body && box.tagName != "ARTICLE"
    && (["auto", "scroll"].includes(getComputedStyle(box).overflowX) || scrolls(box.parentElement));
const inside = document.querySelector("article") || document.body;
return [...inside.querySelectorAll("*")]
    .filter(item => item.getBoundingClientRect().right > innerWidth && !scrolls(item))
    .map(item => item.tagName + ": " + item.textContent);
"""
# Text below 12 pixels, also in SVG pictures as wide as they are shown; indices of formulas are smaller by nature.
TOO_SMALL = """
const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
    const box = walker.currentNode.parentElement, size = parseFloat(getComputedStyle(box).fontSize);
    if (walker.currentNode.data.trim() && size < 12
        && box.checkVisibility({visibilityProperty: true}) && !box.closest("sub, sup, math, script, style"))
        found.push(size + "px: " + walker.currentNode.data);
}
const SVG = "data:image/svg+xml;base64,";
for (const image of document.querySelectorAll(`img[src^="${SVG}"]`)) {
    const bytes = Uint8Array.from(atob(image.src.slice(SVG.length)), letter => letter.charCodeAt(0));
    const picture = new DOMParser().parseFromString(new TextDecoder().decode(bytes), "image/svg+xml");
    const scale = image.clientWidth / picture.documentElement.viewBox.baseVal.width;
    for (const text of picture.querySelectorAll("text")) {
        const sizes = [text, ...text.querySelectorAll("tspan")].map(part => parseFloat(part.style.fontSize) || 0);
        if (scale * Math.max(...sizes) < 11.99) found.push(scale * Math.max(...sizes) + "px: " + text.textContent);
    }
}
return found;
"""
# All that the Tab key must reach, in this order.
STOPS = """
window.stops = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter(
    item => item.type != "hidden" && !item.disabled && item.tabIndex >= 0
        && item.checkVisibility({visibilityProperty: true}));
const top = document.createElement("i");  // Tab goes on from where the focus was last
top.tabIndex = -1;
document.body.prepend(top);
top.focus();
top.remove();
return window.stops.length;
"""
# The place of the focused item among them, and what is wrong with how it shows that it has the focus.
FOCUSED = """
const item = document.activeElement, rings = [item, ...(item.labels || [])].filter(each => {
    const style = getComputedStyle(each), box = each.getBoundingClientRect();
    return each.checkVisibility({opacityProperty: true, visibilityProperty: true})
        && style.outlineStyle != "none" && parseFloat(style.outlineWidth) > 0
        && box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight;
});
return [window.stops.indexOf(item), rings.length > 0, item.outerHTML.slice(0, 200)];
"""


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Headless Chromium, driven by Selenium, with a profile of its own."""
    webdriver = pytest.importorskip("selenium.webdriver", reason=MISSING.format("selenium"))
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    for name, found in programs.items():
        if not found:
            pytest.skip(MISSING.format(name))
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in [*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs["chromedriver"]))
    yield opened
    opened.quit()


@pytest.fixture
def browser(chromium):
    """The browser with its logs emptied; a failing test leaves a screenshot in .pytest_cache/d/screenshots/."""
    chromium.get("about:blank")
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    return chromium


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and call.when == "call" and "browser" in item.fixturenames:
        folder = item.config.cache.mkdir("screenshots")
        picture = folder / f"{re.sub(r'[^A-Za-z0-9]+', '_', item.name)}.png"
        picture.write_bytes(item.funcargs["browser"].get_screenshot_as_png())
        report.sections.append(("screenshot", str(picture)))
    return report


@pytest.fixture(scope="session")
def axe():
    """The source of axe-core, downloaded once into data/ of the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FTC_ROOT", raising=False)
        try:
            archive = npm_archive(*AXE)
        except UserError as error:
            pytest.skip(f"axe-core cannot be had: {error}")
    with tarfile.open(archive) as package:
        return package.extractfile("package/axe.min.js").read().decode()


def show(browser, address, width, scheme="light"):
    """Open a page in a window of that width, for a reader who prefers that colour scheme and no motion."""
    window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(address)


def press(browser, *keys):
    """Press keys by name, such as TAB, wherever the focus is."""
    from selenium.webdriver import ActionChains, Keys

    ActionChains(browser, duration=0).send_keys(*[getattr(Keys, key) for key in keys]).perform()


def requested(browser):
    """Every address that the browser asked for since this was last called."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]


def check_whole(browser):
    """No message, nothing from outside, every picture, nothing wider than the window, and no small text."""
    assert browser.get_log("browser") == []
    assert [address for address in requested(browser) if not address.startswith(("file:", "data:", "about:"))] == []
    images = (
        "return [...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"
    )
    assert browser.execute_script(images) == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.execute_script(TOO_WIDE) == []
    assert browser.execute_script(TOO_SMALL) == []


def check_keyboard(browser):
    """The Tab key goes through all links, buttons and inputs in the order of the page, and each shows the focus."""
    for place in range(browser.execute_script(STOPS)):
        press(browser, "TAB")
        reached, shown, item = browser.execute_script(FOCUSED)
        assert (reached, shown) == (place, True), item


def check_access(browser, axe):
    """axe-core finds no violation of WCAG 2.1 A and AA, contrast included."""
    browser.execute_script(axe)
    run = "axe.run({runOnly: arguments[0], preload: false}).then(arguments[1])"
    found = browser.execute_async_script(run, WCAG)
    assert found["passes"], "axe-core has looked"
    assert [(rule["id"], node["html"]) for rule in found["violations"] for node in rule["nodes"]] == []
