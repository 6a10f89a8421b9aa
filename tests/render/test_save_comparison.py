"""Motions beside each other: labels, groups, and the player's clock in a browser."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import person

from realign.errors import InputError
from realign.motion.clip import MotionClip
from realign.render.comparison import save_comparison
from realign.render.film import Film, column_count
from realign.render.save import SUFFIXES, save_motions

HOSTILE = "</script><img src=x onerror=alert(1)> & \"'"


def clip(seed: int, frames: int = 20, fps: float = 20.0, **fields: Any) -> MotionClip:
    return MotionClip(person(seed, frames).numpy(), fps, f"motion {seed}", **fields)


def guided(seed: int) -> MotionClip:
    return clip(seed, reward=1.5, unguided=replace(clip(seed + 10), caption=f"motion {seed}", reward=-0.25))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("count", [1, 2])
def test_a_comparison_holds_both_motions_in_every_format(tmp_path: Path, suffix: str, count: int) -> None:
    clips = [guided(seed) for seed in range(count)]
    options = {"size": 96} if suffix in (".gif", ".mp4", ".png") else {}
    written = save_comparison(tmp_path / f"x{suffix}", clips, **options)
    assert sorted(written) == sorted(tmp_path.iterdir())
    if suffix in (".gif", ".mp4", ".html", ".png"):
        assert written == [tmp_path / f"x{suffix}"]
        return
    numbers = [""] if count == 1 else ["_0", "_1"]
    assert written == [tmp_path / f"x{n}_{word}{suffix}" for n in numbers for word in ("unguided", "guided")]
    if suffix == ".npy":
        each = [one for each in clips for one in (each.unguided, each)]
        for path, one in zip(written, each, strict=True):
            np.testing.assert_array_equal(np.load(path), one.joints)


def test_pictures_of_a_comparison_are_those_of_labelled_pairs(tmp_path: Path) -> None:
    both, labels = [guided(0).unguided, guided(0)], ["unguided, reward -0.25", "guided, reward 1.50"]
    for suffix in (".gif", ".html", ".png"):
        save_comparison(tmp_path / f"x{suffix}", [guided(0)])
        save_motions(tmp_path / f"y{suffix}", both, labels=labels, group=2)
        assert (tmp_path / f"x{suffix}").read_bytes() == (tmp_path / f"y{suffix}").read_bytes()
    bare = [replace(each, reward=None) for each in both]
    save_comparison(tmp_path / "z.html", [replace(bare[1], unguided=bare[0])])
    assert [each["label"] for each in data_of(tmp_path / "z.html")["clips"]] == ["unguided", "guided"]


def test_a_clip_without_an_unguided_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'motion 1' has no unguided one"):
        save_comparison(tmp_path / "x.npy", [guided(0), clip(1)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("panels", "group", "columns"),
    [(1, 1, 1), (4, 1, 4), (5, 1, 3), (2, 2, 2), (4, 2, 2), (6, 2, 4), (8, 2, 4), (20, 2, 6), (3, 3, 3), (6, 3, 3)],
)
def test_rows_hold_whole_groups(panels: int, group: int, columns: int) -> None:
    assert column_count(panels, group) == columns and columns % group == 0


def test_labels_are_drawn_above_captions() -> None:
    two = [clip(0), replace(clip(0), caption="a much longer caption than the other one " * 3)]
    plain, labelled = (np.asarray(Film(two, size=200, labels=labels).frame(0)) for labels in ((), ("one", "two")))
    line = labelled.shape[0] - plain.shape[0]
    assert line == pytest.approx(1.3 * 11, abs=1)  # one line more
    assert (labelled[6 : 6 + line, :200] < 100).any() and (labelled[6 : 6 + line, 200:] < 100).any()
    np.testing.assert_array_equal(labelled[-150:, :190], plain[-150:, :190])  # the figures stay as they are


@pytest.mark.parametrize("labels", [("one",), ("one", "two", "three")])
def test_labels_must_fit_the_clips(tmp_path: Path, labels: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=f"2 motions have {len(labels)} labels"):
        save_motions(tmp_path / "x.png", [clip(0), clip(1)], labels=labels)
    with pytest.raises(InputError, match="groups of 0"):
        save_motions(tmp_path / "x.png", [clip(0)], group=0)


def data_of(path: Path) -> dict[str, Any]:
    """The data inside a player's page."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S)
    return json.loads(found)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Chromium driven by playwright, without a network."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


def open_page(browser: Any, path: Path) -> tuple[Any, list[str]]:
    """A page of the player, and what went wrong or was asked of other hosts."""
    page, faults = browser.new_page(viewport={"width": 1400, "height": 700}), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else faults.append(request.url)
    )
    page.goto(path.as_uri())
    return page, faults


PIXELS = "canvases => canvases.map(each => each.toDataURL())"


def pictures(page: Any) -> list[str]:
    """What the visible panels show, after everything asked for was drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.eval_on_selector_all("figure:not([hidden]) canvas", PIXELS)


def test_the_player_shows_motions_in_step(browser: Any, tmp_path: Path) -> None:
    """One motion at 10 frames a second and, each frame twice, at 20; a label that tries to be markup."""
    slow = clip(0, 12, 10.0)
    slow.joints[:] = slow.joints[0]  # in place, so that what is smoothed in time looks the same
    slow.joints[:, 20:22, 1] += np.linspace(0, 0.6, 12)[:, None]  # the wrists rise
    fast = MotionClip(np.repeat(slow.joints, 2, axis=0), 20.0, slow.caption)
    save_motions(tmp_path / "x.html", [slow, fast, slow, fast], labels=[HOSTILE, "b", "c", "d"], group=2)
    page, faults = open_page(browser, tmp_path / "x.html")
    assert page.inner_text("#play") == "Pause"  # it plays from the start
    page.keyboard.press(" ")
    assert page.inner_text("#play") == "Play" and pictures(page) == pictures(page)  # one button holds all of them
    seen = []
    for place in (0.0, 1 / 3, 2 / 3):
        page.eval_on_selector("#time", "(e, at) => { e.value = at; e.dispatchEvent(new Event('input')); }", place)
        shown = pictures(page)
        assert len(shown) == 4 and len(set(shown)) == 1  # all at one time
        seen += shown[:1]
    assert len(set(seen)) == 3
    page.keyboard.press("ArrowRight")  # a frame of the faster motion, half of one of the slower
    assert set(pictures(page)) == {seen[-1]}
    page.keyboard.press("ArrowRight")
    shown = pictures(page)
    assert len(set(shown)) == 1 and shown[0] not in seen
    assert page.eval_on_selector_all("figcaption strong", "all => all.map(e => e.textContent)") == [HOSTILE, *"bcd"]
    assert page.eval_on_selector_all("#tabs button", "all => all.length") == 3  # all, and each pair
    page.click("#tabs button:nth-child(2)")
    assert len(pictures(page)) == 2
    assert not page.query_selector_all("img") and not faults
