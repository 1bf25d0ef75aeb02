"""The page in a real browser: Debian's Chromium, driven by selenium, with axe-core for accessibility.

Needs `chromium` and `chromedriver` on the path, the extra `browser`, and axe.min.js named by AXE_CORE (npm: axe-core).
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import labelfix

pytestmark = pytest.mark.live
webdriver = pytest.importorskip("selenium.webdriver", reason="the extra `browser` is not installed")

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
ROOT = Path(__file__).parent.parent.parent.parent


class Tab:
    """One browser with one page open."""

    def __init__(self, driver: Any, page: Path, downloads: Path) -> None:
        self.driver, self.page, self.downloads = driver, page, downloads

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def all(self, css: str) -> list[Any]:
        return [e for e in self.driver.find_elements("css selector", css) if e.is_displayed()]

    def one(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def text(self, css: str) -> str:
        return self.run("return document.querySelector(arguments[0]).textContent", css).strip()

    def shown(self) -> list[int]:
        return self.run(
            "return [...document.querySelectorAll('#cards > .card')].filter(c => !c.hidden).map(c => +c.dataset.at)"
        )

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def choose(self, id_: str, value: str) -> None:
        from selenium.webdriver.support.ui import Select

        Select(self.one(f"#{id_}")).select_by_value(value)

    def reload(self) -> None:
        self.driver.get(self.page.as_uri())

    @property
    def cards(self) -> list[dict[str, Any]]:
        return json.loads(self.text("#data"))["cards"]

    def focused(self) -> int:
        return self.run("return +(document.activeElement.dataset.at ?? -1)")

    def answers(self) -> list[dict[str, str]]:
        target = self.downloads / "answers.csv"
        target.unlink(missing_ok=True)
        self.one("#download").click()
        for _ in range(100):
            if target.exists() and target.stat().st_size:  # an empty one holds the name until all is there
                break
            time.sleep(0.05)
        with target.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[..., Tab]]:
    """Open pages; afterwards nothing may have gone to the console or the network."""
    opened: list[Tab] = []
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "Chromium is not installed: apt-get install chromium chromium-driver"
    assert driver, "chromedriver is not installed: apt-get install chromium-driver"

    def start(page: Path, width: int = 1280, dark: bool = False, scripts: bool = True) -> Tab:
        number = len(opened)
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (
            *FLAGS,
            f"--user-data-dir={tmp_path / f'profile{number}'}",
            f"--window-size={width},900",
        ):
            options.add_argument(flag)
        downloads = tmp_path / f"downloads{number}"
        downloads.mkdir()
        preferences: dict[str, Any] = {"download.default_directory": str(downloads)}
        if not scripts:
            preferences["profile.managed_default_content_settings.javascript"] = 2
        options.add_experimental_option("prefs", preferences)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        made.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        colours = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        made.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [colours]})
        tab = Tab(made, page, downloads)
        opened.append(tab)
        tab.reload()
        return tab

    yield start
    for tab in opened:
        complaints = [entry["message"] for entry in tab.driver.get_log("browser")]
        events = [json.loads(entry["message"])["message"] for entry in tab.driver.get_log("performance")]
        asked = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
            and event["params"]["documentURL"].startswith(
                tab.page.as_uri()
            )  # not the browser's own start page
        ]
        tab.driver.quit()
        assert complaints == []
        assert tab.page.as_uri() in asked
        elsewhere = [url for url in asked if not url.startswith((tab.page.as_uri(), "data:", "blob:"))]
        assert elsewhere == []


@pytest.fixture(scope="module")
def clothing(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that a real scan leaves, with real images, trajectories and neighbours."""
    out = tmp_path_factory.mktemp("clothing") / "run"
    labelfix.scan(ROOT / "examples" / "clothing" / "manifest.csv", out=out, cache=cache)
    return out / "report.html"


@pytest.fixture
def evil(made, paged, noise, hostile, tmp_path) -> Path:
    """A page where every name would like to do something."""
    rows = []
    for n, name in enumerate(hostile):
        other = hostile[(n + 1) % len(hostile)]
        rows.append(made.scored(name, name, other, 0.9, reason=name, duplicate_group=0, is_outlier=True))
        rows += [made.scored(f"{name}{i}", name, other, 0.1, is_ambiguous=i == 0) for i in range(3)]
    paged(made.findings(rows, hostile), noise(len(rows)), record={"source": hostile[0], "notes": hostile})
    return tmp_path / "page.html"


def test_filters_show_the_suspects_that_match_and_say_how_many(clothing, browse):
    tab = browse(clothing)
    cards = tab.cards
    assert tab.shown() == list(range(len(cards)))
    some = cards[0]
    tests: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
        "by-class": (str(some["given"]), lambda c: some["given"] in (c["given"], c["suggested"])),
        "by-pair": (
            f"{some['given']}>{some['suggested']}",
            lambda c: (c["given"], c["suggested"]) == (some["given"], some["suggested"]),
        ),
        "by-kind": ("ambiguous", lambda c: "ambiguous" in c["kinds"]),
        "by-tools": ("theirs", lambda c: c["tools"] == "theirs"),
    }
    for id_, (value, fits) in tests.items():
        tab.choose(id_, value)
        expected = [at for at, card in enumerate(cards) if fits(card)]
        assert 0 < len(expected) < len(cards)
        assert tab.shown() == expected, id_
        assert tab.text("#shown") == f"{len(expected)} of {len(cards)} suspects"
        tab.choose(id_, "")
    tab.choose("by-tools", "both")
    tab.choose("by-kind", "fix")
    both = [at for at, card in enumerate(cards) if card["tools"] == "both" and "fix" in card["kinds"]]
    assert tab.shown() == both
    tab.one("button[type=reset]").click()
    time.sleep(0.1)
    assert tab.shown() == list(range(len(cards)))


def test_a_search_finds_an_id_and_says_when_there_is_none(clothing, browse):
    tab = browse(clothing)
    wanted = tab.cards[3]["id"]
    tab.one("#search").send_keys(wanted[-8:].upper())
    assert tab.shown() == [3]
    tab.one("#search").send_keys("no such id")
    assert tab.shown() == []
    assert tab.all("#nothing")


def test_the_keyboard_walks_opens_decides_and_closes(clothing, browse):
    from selenium.webdriver.common.keys import Keys

    tab = browse(clothing)
    tab.press("j")
    assert tab.focused() == 0
    tab.press("j", "j", "k")
    assert tab.focused() == 1
    tab.press(Keys.ENTER)
    assert tab.all("#detail")
    assert tab.text("#detail-title").startswith("#2 ")
    tab.press("j")
    assert tab.text("#detail-title").startswith("#3 ")
    tab.press("a")
    assert tab.one("#detail-accept").get_attribute("aria-pressed") == "true"
    fifth = tab.cards[4]
    of_two = fifth["given"], fifth["suggested"]
    third = next(number for number, (k, *_) in enumerate(fifth["soft"], 1) if k not in of_two)
    tab.press("j", "r", "j", str(third))
    tab.press(Keys.ESCAPE)
    assert not tab.all("#detail")
    assert tab.focused() == 4
    assert tab.text("#marked").startswith("3 marks: 1 accepted, 1 rejected, 1 relabelled")
    tab.press("u")
    assert tab.text("#marked").startswith("2 marks")
    tab.one("#search").send_keys("jar")  # letters typed into a field are no commands
    assert tab.text("#marked").startswith("2 marks")


def test_the_detail_view_shows_all_the_evidence(clothing, browse):
    tab = browse(clothing)
    card = tab.cards[0]
    tab.one("#s-1 .open").click()
    assert tab.run("return document.querySelector('#detail-picture img').naturalWidth") > 90
    assert tab.text("#detail-why") == card["why"]
    assert re.search(r"\d+ of 10 neighbours say .*; the out-of-fold model preferred .* in", card["why"])
    bars = tab.all("#detail-soft .pick")
    assert len(bars) == len(card["soft"])
    lines = {line.get_attribute("class") for line in tab.all(".trajectory polyline")}
    assert lines == {f"{a} {b}" for a in ("given", "suggested") for b in ("in_sample", "out_of_fold")}
    assert "suggested label, out-of-fold" in tab.one(".trajectory").get_attribute("aria-label")
    near = tab.all("#detail-near li")
    assert len(near) == 5
    assert all(tab.run("return arguments[0].querySelector('img').naturalWidth > 20", item) for item in near)
    assert len(tab.all("#detail-scores tr")) == 2
    assert tab.text("#detail-scores").startswith("tmlc")


def test_marks_outlive_the_page_and_are_downloaded_as_answers(clothing, browse):
    tab = browse(clothing)
    cards, names = tab.cards, json.loads(tab.text("#data"))["classes"]
    tab.one("#s-1 .accept").click()
    tab.one("#s-2 .reject").click()
    tab.one("#s-3 .open").click()
    other = next(k for k in range(len(names)) if k not in (cards[2]["given"], cards[2]["suggested"]))
    tab.choose("relabel", str(other))
    tab.one("#close").click()
    tab.reload()
    assert tab.text("#marked").startswith("3 marks")
    tab.choose("by-mark", "reject")
    assert tab.shown() == [1]
    expected = [("accept", cards[0]["suggested"]), ("reject", cards[1]["given"]), ("relabel", other)]
    assert tab.answers() == [
        {"id": cards[at]["id"], "label": names[label], "decision": decision}
        for at, (decision, label) in enumerate(expected)
    ]
    tab.one("#s-2 .reject").click()  # again: no longer
    assert len(tab.answers()) == 2


def test_answers_are_no_formulas_and_taking_one_quote_away_gives_them_back(evil, browse, hostile):
    tab = browse(evil)
    for card in tab.cards:
        tab.run("document.querySelector(arguments[0]).click()", f"#s-{card['rank']} .accept")
    answers = tab.answers()
    assert len(answers) == len(tab.cards) >= len(hostile)
    given_back = set()
    for answer in answers:
        for value in (answer["id"], answer["label"]):
            assert value[0] not in "=+-@\t\r"
        given_back.add(re.sub(r"^'(?='*[=+\-@\t\r])", "", answer["id"]))
    assert given_back == {card["id"] for card in tab.cards}
    assert any(answer["id"].startswith("'=HYPERLINK") for answer in answers)


@pytest.mark.parametrize("width", [390, 1280])
def test_hostile_names_do_nothing_and_break_no_layout(evil, browse, width):
    tab = browse(evil, width)
    for part in ("suspects", "classes", "duplicates", "outliers", "ambiguous"):
        tab.run("location.hash = arguments[0]", f"#{part}")
        time.sleep(0.1)
        assert tab.run("return document.documentElement.scrollWidth") <= width
    tab.run("location.hash = '#suspects'")
    time.sleep(0.1)
    for card in tab.cards[:13]:
        tab.run("document.querySelector(arguments[0]).click()", f"#s-{card['rank']} .open")
        assert tab.run("const d = document.getElementById('detail'); return d.scrollWidth <= d.clientWidth")
        tab.one("#close").click()
    assert tab.run("return window.hit") is None
    assert tab.run("return document.scripts.length") == 3


def test_without_scripts_everything_stands_on_the_page(clothing, browse):
    tab = browse(clothing, scripts=False)
    assert len(tab.all(".card")) > 50
    assert len(tab.all(".card img")) > 50
    assert len(tab.all("main > .part")) == 5
    assert tab.all(".js") == []


def test_tabs_show_one_part_at_a_time(clothing, browse):
    tab = browse(clothing)
    for name in ("classes", "ambiguous", "suspects"):
        tab.one(f"[data-tab={name}]").click()
        time.sleep(0.1)
        assert [part.get_attribute("id") for part in tab.all("main > .part")] == [name]
        assert tab.one(f"[data-tab={name}]").get_attribute("aria-current") == "page"
    assert not tab.run("return document.querySelector('.skip').getBoundingClientRect().right > 0")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(clothing, browse, width, dark):
    axe = Path(os.environ["AXE_CORE"]).read_text(encoding="utf-8")
    tab = browse(clothing, width, dark)
    tab.run(axe)
    tab.driver.set_script_timeout(120)
    found = []
    for part in ("suspects", "classes", "duplicates", "outliers", "ambiguous", "s-1"):
        tab.run("location.hash = arguments[0]", f"#{part}")
        time.sleep(0.2)
        violations = tab.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then("
            "r => done(r.violations.map(v => `${v.impact}: ${v.id}: ${v.nodes[0].html.slice(0, 200)}`)))"
        )
        found += [f"{part}: {violation}" for violation in violations]
    assert [violation for violation in found if re.search(r": (serious|critical): ", violation)] == []
