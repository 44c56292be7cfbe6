"""A page of a run, as it is read and as a real browser shows it: the plugin's and spore-test's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")


class Elements(HTMLParser):
    """The elements of a page: names and attributes; and the text of all."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def data_of(page: str) -> Any:
    """What the page's script draws."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def show_page(page: str, directory: Path, fragment: str = "") -> Elements:
    """The elements of a page as the browser has them once its script has run."""
    file = directory / "page.html"
    file.write_text(page, encoding="utf-8")
    result = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={directory / 'profile'}", "--enable-logging=stderr"),
            *("--window-size=1000,600", "--dump-dom"),
            f"{file.as_uri()}{fragment}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    errors = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    assert not errors, "\n".join(errors)
    return Elements(result.stdout)


def count_rows(elements: Elements) -> int:
    """Rows of the table of tests."""
    return sum(tag == "td" and one.get("class") == "name" for tag, one in elements.elements)
