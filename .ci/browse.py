"""Opens every page of the built site in headless Chromium: python .ci/browse.py build/site

Checked: links within the site and their anchors, pages wider than a desktop's or a phone's window, errors of the
browser. Links to other sites are only counted. Wants Debian's chromium and chromium-driver, and the package selenium.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

WINDOWS = {"desktop": (1280, 900), "phone": (390, 844)}
FACTS = """return {
    width: document.documentElement.scrollWidth,
    links: [...document.querySelectorAll('a[href]')].map(a => a.href),
    images: [...document.images].filter(i => !i.naturalWidth).map(i => i.src),
    anchors: [...document.querySelectorAll('[id]')].map(e => e.id)}"""


def chromium(width: int, height: int) -> webdriver.Chrome:
    """A browser with a window of that size; a phone's, if it is narrow."""
    options = Options()
    options.binary_location = shutil.which("chromium") or "chromium"
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"):
        options.add_argument(word)
    if width < 600:
        metrics = {"width": width, "height": height, "pixelRatio": 2.0}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, Service(shutil.which("chromedriver")))


def faults(site: Path, browser: webdriver.Chrome, width: int, pages: dict[Path, dict]) -> Iterator[str]:
    """What is wrong with each page in a window of that width; fills `pages` with links and anchors."""
    for page in sorted(site.rglob("*.html")):
        browser.get(page.as_uri())
        found = pages[page] = browser.execute_script(FACTS)
        name = page.relative_to(site)
        if found["width"] > width:
            yield f"{name}: {found['width']} pixels wide in a window of {width}"
        yield from (f"{name}: no image {source}" for source in found["images"])
        for line in browser.get_log("browser"):
            if line["level"] == "SEVERE":
                yield f"{name}: {line['message']}"


def broken(site: Path, pages: dict[Path, dict]) -> Iterator[str]:
    """Links to files or anchors that are not there."""
    for page, found in pages.items():
        for link in set(found["links"]):
            address, anchor = urldefrag(link)
            if urlparse(address).scheme != "file":
                continue
            target = Path(unquote(urlparse(address).path))
            if not target.is_file():
                yield f"{page.relative_to(site)}: no file for {link.removeprefix(site.as_uri())}"
            elif anchor and target in pages and unquote(anchor) not in pages[target]["anchors"]:
                yield f"{page.relative_to(site)}: no anchor for {link.removeprefix(site.as_uri())}"


def main() -> int:
    site = Path(sys.argv[1]).resolve()
    wrong: list[str] = []
    pages: dict[Path, dict] = {}
    for kind, size in WINDOWS.items():
        browser = chromium(*size)
        wrong += [f"{kind}: {fault}" for fault in faults(site, browser, size[0], pages)]
        browser.quit()
    wrong += broken(site, pages)
    print(*wrong, sep="\n")
    links = {link for found in pages.values() for link in found["links"]}
    outside = sum(link.startswith("http") for link in links)
    print(f"{len(pages)} pages, {len(links) - outside} links within, {outside} to other sites, {len(wrong)} faults")
    return 1 if wrong or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
