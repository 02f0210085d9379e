"""Names in pages: whatever a file or folder is called, a page shows it and does nothing else."""

import json
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from nerveceg_tf.audit.audit import Audit, Finding, SubjectSummary
from nerveceg_tf.audit.page import audit_page
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.explain.explainer import Explainer
from nerveceg_tf.explain.pictures import write_explanations
from nerveceg_tf.inference.predict import FramePrediction
from nerveceg_tf.report import page as page_module
from nerveceg_tf.report import write_report
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.subsets import SUBSETS

NAMES = {
    "plain": "12_34",
    "quotes": "a\"b'c`d",
    "tags": "<b onclick=alert(1)>&lt;i&gt;</b>",
    "newlines": "a\nb\r\nc",
    "end of a script": "</script><script>alert(1)</script>",
    "end of a text": "</title></h1></style>",
    "comment that holds a script open": "<!--<script>",
    "ampersand": "a&b&amp;c&#60;",
    "backslash": "C:\\new\\u003c",
    "not ASCII": "Ærø 神経 🩻",
    "line separators": "a\u2028b\u2029c",
    "braces": "{{ 7 * 7 }}{% raw %}",
}


class Page(HTMLParser):
    """A page as a browser reads it: its elements in order, its scripts, and its texts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.texts, self.values = [], [], [], []
        self._within = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, sorted(name for name, _ in attributes)))
        self.values += [value for _, value in attributes]
        self._within = [tag]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._within = []

    def handle_data(self, data):
        if self._within == ["script"]:
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def shows(self, name):
        """Whether a text or the value of an attribute holds a name."""
        # A browser reads every kind of line break as one.
        plain = name.replace("\r\n", "\n")
        contents = "\0".join([*self.texts, *filter(None, self.values)]).replace("\r\n", "\n")
        return plain in contents


@pytest.fixture
def frames(tmp_path):
    """Two frames of a subject, one with a nerve, all of the same name."""

    def make(name):
        made = []
        for number, value in enumerate((0, 255)):
            paths = [tmp_path / f"{part}_{number}.png" for part in ("image", "mask")]
            cv2.imwrite(str(paths[0]), np.full((20, 30), 90 + number, np.uint8))
            mask = np.zeros((20, 30), np.uint8)
            mask[5:10, 5:15] = value
            cv2.imwrite(str(paths[1]), mask)
            made.append(Frame(f"{name}{number}", paths[0], name, paths[1]))
        return made

    return make


def predictions(_, frames, report=None):
    for number, frame in enumerate(frames):
        image = cv2.imread(str(frame.image), 0)
        yield FramePrediction(frame, image, number / 2, np.full(image.shape, 0.6, np.float32))


@pytest.fixture
def report(frames, tmp_path, monkeypatch):
    """The page of a report on a run and frames of a name."""
    monkeypatch.setattr(page_module, "predict_for_scores", predictions)
    monkeypatch.setattr(Run, "stages", ("gate", "segmenter"))

    def make(name):
        run = Run.create(tmp_path / "runs" / name, {})  # a name with a slash is two folders
        run.write("split.json", {part: [] for part in SUBSETS})
        write_report(run, frames(name), tmp_path / "report.html")
        return run, (tmp_path / "report.html").read_text("utf-8")

    return make


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_report_shows_any_name_and_reads_its_numbers_back(name, report):
    plain = Page(report("of no account")[1])
    run, text = report(name)
    page = Page(text)
    assert page.elements == plain.elements
    assert len(page.scripts) == 2
    content, script = page.scripts
    assert script == plain.scripts[1]
    # In JSON nothing is left that could end or open anything, in whatever state a browser is.
    assert not set("<>&'\u2028\u2029") & set(content)
    read = json.loads(content)
    assert [frame["name"] for frame in read["frames"]] == [f"{name}0", f"{name}1"]
    assert [frame["subject"] for frame in read["frames"]] == [name, name]
    assert [frame["presence"] for frame in read["frames"]] == [0, 0.5]
    assert page.shows(name)  # the subject
    assert page.shows(f"Report of {run.path}")


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_audit_shows_any_name(name, frames, tmp_path):
    def page_of(name):
        by_name = {frame.name: frame for frame in frames(name)}
        audit = Audit(
            folder=tmp_path / name,
            frames=by_name,
            present=dict.fromkeys(by_name, True),
            findings=(
                Finding("contradiction", tuple(by_name), f"of {name}", 0.9, 0.1),
                Finding("unreadable", (), f"{name}: cannot be read"),
            ),
            subjects=(SubjectSummary(name, 2, 1, 3.5),),
        )
        return Page(audit_page(audit))

    page = page_of(name)
    assert page.elements == page_of("of no account").elements
    assert page.scripts == []
    assert page.shows(f"{name}0 and {name}1")
    assert page.shows(f"{name}0, subject {name}")
    assert page.shows(f"{name}: cannot be read")
    assert page.shows(f"Audit of {tmp_path / name}")


@pytest.mark.parametrize(
    "name", [name for name in NAMES.values() if "/" not in name], ids=lambda name: repr(name)
)
def test_pictures_that_explain_are_files_of_any_name(name, frames, tmp_path, monkeypatch):
    def one_map(self, images):
        return {"grad-cam": np.ones((*images.shape[:3], 1), np.float32)}

    monkeypatch.setattr(Explainer, "__call__", one_map)
    out = tmp_path / "why"
    out.mkdir()
    explainer = Explainer(None, None, [])
    explainer.methods = ("grad-cam",)
    write_explanations(explainer, frames(name), out)
    names = [f"{name}0", f"{name}1"]
    assert list(json.loads((out / "explained.json").read_text())["presence"]) == names
    for each in names:
        assert cv2.imdecode(np.fromfile(out / f"{each}.png", np.uint8), 1) is not None
        assert np.load(out / "maps" / f"{each}.npz")["grad-cam"].shape == (20, 30, 1)
