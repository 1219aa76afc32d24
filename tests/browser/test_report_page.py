"""The page of `cambeam report` in a real browser, on real runs of the demo model over scenes with hostile names."""

import io
import os
import pathlib
import shutil
import tarfile

import cv2
import pyarrow.dataset
import pytest

from pipeline import cli
from pipeline.demo import scenes
from transforms.model.demo import CLASS_NAMES

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[browser]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium: apt-get install chromium")

NUM_SCENES = 16
EVIL_ID = "<script>window.hit=1</script>\"'&"
EVIL_CLASS = "<img src=x onerror=window.hit=1>\"' circle"
SETTINGS = ["--set", "model.source=demo", "--set", "cam.top_k=3", "--set", "failures.max_fraction=0.5"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> list[pathlib.Path]:
    """Two runs over 16 labelled scenes and one broken image: the second sees but the middle of each."""
    folder = tmp_path_factory.mktemp("report")
    shard, names = folder / "scenes.tar", folder / "names.txt"
    names.write_text("\n".join([EVIL_CLASS, *CLASS_NAMES[1:]]))
    with tarfile.open(shard, "w") as tar:
        for seed in range(NUM_SCENES):
            scene, image_id = scenes.draw_scene(seed), EVIL_ID if seed == 3 else f"scene-{seed:02d}"
            label = (scene.label + 1) % len(CLASS_NAMES) if seed == 5 else scene.label  # one label is wrong
            _add(tar, f"{image_id}.jpg", cv2.imencode(".jpg", scene.image[..., ::-1])[1].tobytes())
            _add(tar, f"{image_id}.cls", str(label).encode())
        _add(tar, "broken.jpg", b"<b>not an image</b>")
    runs = []
    for name, resize in (("this", "squash"), ("other", "center_crop")):
        words = [*SETTINGS, "--set", f"model.class_names={names}", "--set", f"model.resize={resize}"]
        assert cli.main(["run", *words, "--input", str(shard), "--output", str(folder / name)]) == 0
        runs.append(folder / name)
    return runs


@pytest.fixture(scope="module")
def reports(outputs) -> dict[str, str]:
    this, other = map(str, outputs)
    made = {"one": [], "two": ["--compare", other]}
    for name, more in made.items():
        assert cli.main(["report", "--predictions", this, "--output", f"{this}-{name}", *more]) == 0
    return {name: pathlib.Path(f"{this}-{name}", "index.html").as_uri() for name in made}


@pytest.fixture(scope="module")
def browser():
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=os.fspath(CHROMIUM), args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, reports):
    """Opens a report; fails the test if the page logs an error or asks for anything but files."""
    contexts, problems = [], []

    def open_it(name="one", address="", **options):
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else problems.append(request.url),
        )
        page.goto(reports[name] + address)
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not problems


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def names_of(page, selector="#tiles .tile .caption b") -> list[str]:
    return page.locator(selector).all_inner_texts()


def images_of(page) -> list[str]:
    numbers = page.locator("#tiles .tile").evaluate_all("all => all.map(tile => Number(tile.dataset.image))")
    return [page.evaluate(f"gallery.columns.id[{number}]") for number in numbers]


def test_totals_and_counts(open_page):
    page = open_page()
    assert page.inner_text("h1") == f"{NUM_SCENES} images labelled"
    figures = dict(
        zip(
            page.locator("#overview dt").all_inner_texts(),
            page.locator("#overview dd.value").all_inner_texts(),
            strict=True,
        )
    )
    assert figures["rejected"] == "1"
    assert page.inner_text("#count") == f"{NUM_SCENES} images"
    assert page.locator("#tiles .tile").count() == NUM_SCENES
    images = page.locator("#class-list .meter").all_inner_texts()
    assert sum(map(int, images)) == NUM_SCENES
    assert "unknown_format" in page.inner_text("#reject-list")


def test_thumbnails_load_and_have_alternatives(open_page):
    page = open_page()
    page.locator("#tiles").scroll_into_view_if_needed()
    first = page.locator("#tiles img").first
    page.wait_for_function("document.querySelector('#tiles img').naturalWidth > 0")
    assert first.get_attribute("alt").startswith("Heat map over image scene-00")
    assert page.locator("img:not([alt]), img[alt='']").count() == 0


def test_class_filter_shows_that_class(open_page):
    page = open_page()
    before = names_of(page)
    wanted = before[0]
    page.select_option("#f-class", label=f"{wanted} ({before.count(wanted)})")
    assert names_of(page) == [wanted] * before.count(wanted)
    assert page.inner_text("#count") == f"{before.count(wanted)} of {NUM_SCENES} images"
    page.click("#clear")
    assert page.inner_text("#count") == f"{NUM_SCENES} images"


def test_label_filter_finds_the_mistake(open_page):
    page = open_page()
    page.locator("#f-agree label", has_text="Disagrees").click()
    disagreeing = page.locator("#tiles .tile").count()
    assert disagreeing >= 1  # the wrong label at least
    assert page.locator("#tiles .verdict.bad").count() == disagreeing
    assert page.locator("#mistakes .tile").count() == disagreeing
    page.locator("#f-agree label", has_text="Agrees").first.click()
    assert page.locator("#tiles .tile").count() == NUM_SCENES - disagreeing


def test_probability_range_and_sort(open_page, outputs):
    rows = pyarrow.dataset.dataset(outputs[0] / "images").to_table(["image_id", "probability"])
    rows = rows.sort_by("probability").to_pylist()
    page = open_page()
    page.select_option("#f-sort", "least")
    assert images_of(page) == [row["image_id"] for row in rows]
    limit = int(100 * rows[NUM_SCENES // 2]["probability"])
    page.fill("#f-max", str(limit))
    assert images_of(page) == [row["image_id"] for row in rows if 100 * row["probability"] < limit]
    assert page.inner_text("#f-range") == f"0 to {limit} %"
    page.fill("#f-min", "100")  # no further than the upper end
    assert page.input_value("#f-min") == str(limit)


def test_search_and_empty_state(open_page):
    page = open_page()
    page.fill("#f-search", "SCENE-07")
    assert page.inner_text("#count") == f"1 of {NUM_SCENES} images"
    page.fill("#f-search", "no such image")
    assert page.inner_text("#tiles") == "No image passes these filters."


def test_filters_are_in_the_address(open_page):
    page = open_page()
    page.fill("#f-search", "scene-07")
    again = open_page(address=page.evaluate("location.hash"))
    assert again.inner_text("#count") == f"1 of {NUM_SCENES} images"
    assert again.input_value("#f-search") == "scene-07"


def test_bars_of_the_chart_and_classes_filter(open_page):
    page = open_page()
    page.locator("#distributions .bin[role=button]").last.focus()
    page.keyboard.press("Enter")
    inside = page.locator("#tiles .tile").count()
    assert 0 < inside <= NUM_SCENES
    assert "%" in page.inner_text("#f-range")
    page.locator("#class-list button").first.click()
    amount = int(page.locator("#class-list .meter").first.inner_text())
    assert page.locator("#tiles .tile").count() == amount


def test_keyboard_walks_the_gallery_and_the_detail_view(open_page):
    page = open_page()
    page.locator("#tiles .tile").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.image") == "2"
    page.keyboard.press("ArrowDown")
    below = int(page.evaluate("document.activeElement.dataset.image"))
    assert below > 3  # a row further down
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert page.locator("dialog").is_visible()
    assert "scene-00" in page.inner_text("dialog")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert "scene-02" in page.inner_text("dialog")
    page.keyboard.press("ArrowLeft")
    assert "scene-01" in page.inner_text("dialog")
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    page.wait_for_function("document.activeElement.dataset.image === '1'")  # a closed dialog gives the focus back later


def test_detail_view_tells_box_and_classes(open_page):
    page = open_page()
    page.locator("#tiles .tile").first.click()
    text = page.inner_text("dialog")
    assert "px" in text
    assert "scenes.tar#scene-00.jpg" in text
    assert page.locator("dialog .bars b").count() == 3  # cam.top_k


def test_names_from_the_data_are_text(open_page):
    page = open_page("two")
    assert EVIL_CLASS in names_of(page, "#class-list .name")
    page.fill("#f-search", "<script>")
    page.locator("#tiles .tile").first.click()
    assert EVIL_ID in page.inner_text("dialog")
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x]").count() == 0


def test_dark_and_light(open_page):
    ground = "getComputedStyle(document.body).backgroundColor"
    dark, light = open_page(color_scheme="dark"), open_page(color_scheme="light")
    assert dark.evaluate(ground) != light.evaluate(ground)
    light.click("#theme")
    assert light.evaluate(ground) == dark.evaluate(ground)
    light.reload()
    light.wait_for_selector("html[data-ready]")
    assert light.evaluate(ground) == dark.evaluate(ground)  # it is remembered


@pytest.mark.parametrize("name", ["one", "two"])
def test_phone_has_no_sideways_scroll(open_page, name):
    page = open_page(name, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#tiles .tile").first.click()
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 390


def test_output_of_rejects_only(browser, tmp_path):
    with tarfile.open(tmp_path / "broken.tar", "w") as tar:
        _add(tar, "broken.jpg", b"not an image")
    words = ["--set", "failures.max_fraction=1", "--input", str(tmp_path / "broken.tar")]
    assert cli.main(["run", *SETTINGS, *words, "--output", str(tmp_path / "out")]) == 0
    assert cli.main(["report", "--predictions", str(tmp_path / "out"), "--output", str(tmp_path / "report")]) == 0
    page = browser.new_page()
    page.goto((tmp_path / "report" / "index.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    assert page.inner_text("#tiles") == "There are no images in this output."
    text = page.inner_text("body")
    assert "broken.tar#broken.jpg" in text
    assert not any(word in text for word in ("NaN", "Infinity", "undefined", "null"))
    page.close()


def test_controls_without_data_are_hidden(open_page):
    page = open_page()
    assert "inconsistent" not in page.locator("#f-sort option").evaluate_all("all => all.map(one => one.value)")
    assert not page.locator("#f-models").is_visible()
    assert not page.locator("#compare").is_visible()


def test_comparison_shows_pairs_and_filters_them(open_page):
    page = open_page("two")
    assert page.locator("#compare").is_visible()
    different = page.locator("#pairs .tile").count()
    page.locator("#f-models label", has_text="Differ").click()
    assert page.locator("#tiles .tile").count() == different
    page.locator("#f-models label", has_text="Agree").click()
    assert page.locator("#tiles .tile").count() == NUM_SCENES - different
    page.locator("#tiles .tile").first.click()
    assert page.locator("dialog img").count() == 2
    page.wait_for_function("[...document.querySelectorAll('dialog img')].every(image => image.naturalWidth > 0)")
