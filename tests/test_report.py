"""The report in a real browser: what it shows is what Python computed, and nothing leaves it."""

import re
import shutil
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
from tiny import tiny_segmenter

from nerveceg_tf import SharedGate
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.frame import digest, read_image, read_mask
from nerveceg_tf.evaluation import evaluate as evaluate_module
from nerveceg_tf.evaluation import tune as tune_module
from nerveceg_tf.evaluation.evaluate import evaluate
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.tune import tune
from nerveceg_tf.inference.predict import FramePrediction
from nerveceg_tf.report import page as page_module
from nerveceg_tf.report import write_report
from nerveceg_tf.report.charts import gate_charts
from nerveceg_tf.report.pictures import choose
from nerveceg_tf.runs.bundled import WEIGHTS
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.subsets import SUBSETS
from nerveceg_tf.runs.thresholds import Thresholds


def predictions(run, frames, report=None):
    """Blurred and shifted true masks with noise, and presences that are right three times in four:
    what a half-trained run would say of real frames."""
    random = np.random.default_rng(0)
    for frame in frames:
        image = read_image(frame.image)
        truth = read_mask(frame, image.shape)
        shape = np.roll(truth, random.integers(-8, 9, 2), (0, 1)).astype(np.float32)
        if not truth.any():
            shape[20:60, 30:90] = 1
        probability = cv2.GaussianBlur(shape, (0, 0), 3) + random.normal(0, 0.05, truth.shape)
        sure = random.random() * 0.75
        presence = 1 - sure if truth.any() else sure
        yield FramePrediction(frame, image, presence, probability.clip(0, 1).astype(np.float32))


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        for module in (evaluate_module, page_module):
            patch.setattr(module, "predict_for_scores", predictions)
        patch.setattr(tune_module, "predict_ungated", predictions)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, samples, patched):
    """A run that validated on the first subjects, tuned there, and never saw the others."""
    run = Run.create(tmp_path_factory.mktemp("run") / "run", {"data": {"folder": str(SAMPLES)}})
    seen = [f for f in samples if int(f.subject) <= 20]
    known = [
        {"name": f.name, "subject": f.subject, "digest": digest(read_image(f.image))} for f in seen
    ]
    run.write("split.json", {**{part: [] for part in SUBSETS}, "validation": known})
    keras.utils.set_random_seed(5)  # with some weights Grad-CAM is 0 everywhere
    run.save("shared", SharedGate(tiny_segmenter((32, 32, 1))))
    tune(run)
    return run


@pytest.fixture(scope="module")
def metrics(run, samples):
    scores, _ = evaluate(run, samples)
    return scores


@pytest.fixture(scope="module")
def report(run, samples, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(run, samples, path)
    return path


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if chromium is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, report):
    """The report as a reader opens it, at a desk; fails on any error and any request."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    troubles = []
    page.on("console", lambda m: troubles.append(m.text) if m.type == "error" else 0)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda r: troubles.append(r.url) if r.url.startswith("http") else 0)
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    yield page
    page.close()
    assert troubles == []


def live_dice(page):
    page.wait_for_timeout(100)  # the page follows a slider in its next frame
    return float(page.inner_text("#live-dice"))


def slide(page, name, value):
    page.locator(f"#{name}").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }",
        value,
    )


def coloured(page):
    """How many pixels of the masks in view are painted yellow."""
    return page.evaluate(
        """() => [...document.querySelectorAll("#gallery canvas")].reduce((sum, canvas) => {
            const { top, bottom } = canvas.getBoundingClientRect();
            if (bottom < 0 || top > innerHeight) return sum;
            const context = canvas.getContext("2d");
            const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
            for (let i = 0; i < data.length; i += 4) sum += data[i] > 200 && data[i + 3] > 0;
            return sum;
        }, 0)"""
    )


def to_gallery(page):
    page.locator("#controls").evaluate("element => element.scrollIntoView()")
    page.wait_for_timeout(400)


@pytest.mark.browser
def test_the_page_opens_with_the_scores_of_evaluate(page, metrics):
    assert live_dice(page) == round(metrics["kaggle_dice"], 4)
    assert page.inner_text("#headline") == f"{metrics['kaggle_dice']:.4f}"
    assert 0.4 < metrics["kaggle_dice"] < 1


@pytest.mark.browser
@pytest.mark.parametrize("slider", ["gate", "mask"])
def test_a_slider_at_1_empties_every_mask(page, slider, metrics):
    to_gallery(page)
    assert coloured(page) > 0
    slide(page, slider, 255 if slider == "mask" else 1)
    assert live_dice(page) == round(metrics["all_empty_dice"], 4)
    page.wait_for_timeout(200)
    assert coloured(page) == 0
    slide(page, "mask", 100)
    page.click("#reset")
    assert live_dice(page) == round(metrics["kaggle_dice"], 4)
    page.wait_for_timeout(200)
    assert coloured(page) > 0


@pytest.mark.browser
def test_any_setting_scores_as_python_does(page, run, samples, monkeypatch):
    for presence, level, area in ((0.0, 128, 0.0), (0.35, 90, 0.02), (0.8, 200, 0.06)):
        settings = Thresholds(presence, level / 255, area)
        monkeypatch.setattr(Run, "thresholds", settings)
        expected, _ = evaluate(run, samples)
        for name, value in (("gate", presence), ("mask", level), ("area", area)):
            slide(page, name, value)
        assert live_dice(page) == round(expected["kaggle_dice"], 4)
        text = page.inner_text("#live")
        assert f"gate sensitivity {expected['gate_sensitivity']:.3f}" in text
        assert f"gate specificity {expected['gate_specificity']:.3f}" in text


@pytest.mark.browser
def test_overlays_can_be_switched_off(page):
    to_gallery(page)
    before = coloured(page)
    page.uncheck("#show-mask")
    page.wait_for_timeout(200)
    assert coloured(page) == 0
    page.keyboard.press("p")
    page.wait_for_timeout(200)
    assert coloured(page) == before


@pytest.mark.browser
def test_filters_show_what_they_name(page, samples):
    to_gallery(page)
    unseen = [f for f in samples if int(f.subject) > 20]
    assert page.locator(".frame").count() == len(unseen)
    page.select_option("#subject", unseen[0].subject)
    own = [f for f in unseen if f.subject == unseen[0].subject]
    assert page.locator(".frame").count() == len(own)
    page.select_option("#subject", "")
    slide(page, "gate", 0.5)
    page.wait_for_timeout(100)
    for kind in ("false alarm", "miss"):
        page.select_option("#filter", kind)
        page.wait_for_timeout(300)
        text = page.locator(".frame .wrong").all_inner_texts()
        assert text
        assert set(text) == {kind}
        counted = int(re.search(rf"(\d+) {kind[:4]}", page.inner_text("#live"))[1])
        assert page.locator(".frame").count() == counted
    page.select_option("#filter", "all")
    page.select_option("#order", "worst")
    page.wait_for_timeout(300)
    dice = [
        float(re.search(r"Dice ([\d.]+)", text)[1])
        for text in page.locator(".frame p").all_inner_texts()[:10]
    ]
    assert dice == sorted(dice)


@pytest.mark.browser
def test_the_full_size_view_is_walked_by_keyboard(page):
    to_gallery(page)
    page.locator(".frame").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert "(2 of " in page.inner_text("#large-title")
    page.keyboard.press("ArrowRight")
    title = page.inner_text("#large-title")
    assert "(3 of " in title
    name = title.split(" (")[0]
    # Drawing and the focus come a moment later, on a busy machine not within a fixed time.
    is_shown = "name => document.querySelector('#large canvas').ariaLabel?.startsWith(name)"
    page.wait_for_function(is_shown, arg=name)
    page.keyboard.press("Escape")
    assert not page.locator("#large").is_visible()
    page.wait_for_function("name => document.activeElement.innerText.includes(name)", arg=name)


@pytest.mark.browser
def test_turning_the_pages_fast_troubles_nobody(page):
    to_gallery(page)
    page.locator(".frame").first.click()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    page.click(".switch[data-for=show-mask]")
    page.wait_for_timeout(400)
    assert "(21 of " in page.inner_text("#large-title")
    pressed = page.locator(".switch[data-for=show-mask]").get_attribute("aria-pressed")
    assert pressed == "false"
    assert not page.is_checked("#show-mask")


@pytest.mark.browser
def test_a_phone_need_not_scroll_sideways(page):
    page.set_viewport_size({"width": 360, "height": 740})
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360


@pytest.mark.browser
def test_every_control_has_a_name_and_every_picture_a_text(page):
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button, svg[role=img], dialog")]
            .filter(e => !(e.labels?.length || e.textContent.trim() ||
                e.ariaLabel || e.getAttribute("aria-labelledby")))
            .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    assert page.evaluate("document.documentElement.lang") == "en"


def contrast(one, other):
    def luminance(colour):
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_can_be_read_in_light_and_dark(report):
    style = report.read_text("utf-8")
    for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        colours = dict(
            re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block.replace("#fff;", "#ffffff;"))
        )
        for ink in ("ink", "soft-ink", "wrong"):
            for ground in ("paper", "card"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def test_the_page_is_one_file_without_addresses(report):
    text = report.read_text("utf-8")
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert "default-src 'none'" in text


def test_the_gates_curves_go_through_points_worked_out_by_hand():
    """In a square of 100 units, with 0 at the upper left."""
    scores = SimpleNamespace(
        stages=("gate", "segmenter"),
        present=np.array([True, True, False, False]),
        presence=np.array([0.9, 0.4, 0.6, 0.1]),
    )
    charts = gate_charts(scores)
    # From .9 half of the nerves are found and nothing else; from .4 all, with one false alarm.
    assert {"0.00,50.00", "50.00,0.00"} <= set(charts.roc.removeprefix("M").split())
    points = set(charts.precision_recall.removeprefix("M").split())
    assert {"50.00,0.00", "100.00,33.33"} <= points
    assert charts.average_precision == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("stage", ["gate", "segmenter"])
def test_a_run_of_one_stage_has_a_report_too(stage, run, samples, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "stages", (stage,))
    scores = write_report(run, samples, tmp_path / "one.html")
    text = (tmp_path / "one.html").read_text("utf-8")
    assert ('id="gate"' in text) == (stage == "gate")
    assert ('id="mask"' in text) == (stage == "segmenter")
    assert (scores["gate_auc"] is None) == (stage == "segmenter")


def test_only_so_many_frames_get_a_picture(run, samples, tmp_path):
    write_report(run, samples, tmp_path / "few.html", max_frames=10)
    text = (tmp_path / "few.html").read_text("utf-8")
    assert text.count('"image":"data:') == 10
    assert "10 of " in text


def test_the_worst_frames_are_among_the_pictures():
    n = 100
    dice = np.linspace(1, 0, n)
    columns = {f: np.zeros(n) for f in FrameScores.__dataclass_fields__}
    scores = FrameScores(**{**columns, "dice": dice})
    chosen = choose(scores, 20)
    assert len(set(chosen.tolist())) == 20
    assert set(range(90, 100)) <= set(chosen.tolist())
    assert chosen.min() == 0
    assert len(choose(scores, 200)) == n


def test_the_command_writes_it_and_guards_what_is_there(run, nerveceg, tmp_path):
    out = tmp_path / "report.html"
    code, _, err = nerveceg("report", run.path, "--out", out)
    assert code == 0, err
    assert out.read_text("utf-8").startswith("<!doctype html>")
    code, _, err = nerveceg("report", run.path, "--out", out)
    assert (code, "pass --force" in err) == (2, True)
    code, _, err = nerveceg("report", run.path, "--out", tmp_path, "--data", SAMPLES)
    assert (code, "is a folder" in err) == (2, True)


@pytest.mark.browser
def test_the_frames_show_why_on_demand(browser, run, samples, tmp_path):
    write_report(run, samples, tmp_path / "why.html", max_frames=4, explain="grad-cam")
    page = browser.new_page()
    page.goto((tmp_path / "why.html").as_uri())
    page.wait_for_selector("html[data-ready=yes]")

    def shown(where):
        return page.locator(f"{where} img").first.get_attribute("src")

    to_gallery(page)
    plain = shown("#gallery")
    page.check("#show-why")
    page.wait_for_function(
        "plain => document.querySelector('#gallery img').src !== plain", arg=plain
    )
    page.locator("#gallery .frame").first.click()
    assert shown("#large-stack") == shown("#gallery")
    page.keyboard.press("w")
    page.wait_for_function(
        "plain => document.querySelector('#gallery img').src === plain", arg=plain
    )
    assert shown("#large-stack") == plain
    page.close()


def test_the_model_in_the_box_knows_no_frames_to_report_on(nerveceg, tmp_path):
    code, _, err = nerveceg("report", "--out", tmp_path / "report.html")
    assert code == 2
    assert "report: pass labelled frames (--data DATA)" in err
    code, _, err = nerveceg("report", WEIGHTS, "--out", tmp_path / "report.html")
    assert code == 2
    assert "which does not exist; name a folder of labelled frames" in err
