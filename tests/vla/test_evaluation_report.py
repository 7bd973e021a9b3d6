import io
from html.parser import HTMLParser

import pytest

from tests.fakes import fake_row
from vla.command.errors import RefusedError
from vla.evaluation.html import Html, page, tag
from vla.evaluation.journal import Journal
from vla.evaluation.progress import Progress
from vla.evaluation.report import write_report
from vla.evaluation.run_folder import RunFolder
from vla.evaluation.summary import summarise, table
from vla.files import write_json

FINGERPRINT = {"policy": {"_target_": "a.b.MyPolicy", "path": "</pre><script>"}, "drifts": ["floor <too> dark"]}
IDENTITY = {
    "env": {"_target_": "a.B", "suite": "s", "render": "lod", "scene": "shuffled"},
    "tasks": [0, 1],
    "episodes": 2,
}


class Outline(HTMLParser):
    """Collects elements and their attributes."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def count(self, name, class_part=""):
        return sum(tag == name and class_part in (attributes.get("class") or "") for tag, attributes in self.elements)


@pytest.fixture
def folder(tmp_path):
    def fill(rows):
        write_json(tmp_path / "fingerprint.json", FINGERPRINT)
        command = "python scripts/eval.py 'env.tasks=[0,1]'"
        write_json(tmp_path / "plan.json", {"hash": "0", "command": command, "identity": IDENTITY})
        with Journal(tmp_path / "episodes.jsonl") as journal:
            for row in rows:
                journal.append(row)
        return RunFolder(tmp_path)

    return fill


ROWS = [
    fake_row(0, 0, video="videos/a b_success.mp4"),
    fake_row(0, 1, "FAILURE", video="videos/b_failure.mp4"),
    fake_row(1, 0, "ERROR", error="Traceback\n<script>alert(1)</script>"),
    fake_row(1, 1, "STOPPED", error="action: expected finite numbers, got nan"),
]


def test_report_has_every_episode_video_and_error_and_is_escaped(folder):
    text = write_report(folder(ROWS)).read_text()
    outline = Outline(text)
    assert outline.count("article", "episode") == 4
    assert [a["src"] for t, a in outline.elements if t == "video"] == [
        "videos/a%20b_success.mp4",
        "videos/b_failure.mp4",
    ]
    assert outline.count("script") == 0
    assert "<b>bowl" not in text
    for part in (
        "Errors and stops (2)",
        "25.0 %",
        "&#x27;env.tasks=[0,1]&#x27;",
        "MyPolicy",
        "&lt;b&gt;bowl",
        "render lod; scene shuffled",
    ):
        assert part in text
    assert "Unfinished" not in text
    assert outline.count("svg") == 2 + 1 + 1  # two tasks, their suite, timing
    assert "DRIFTED" not in text.upper().split("FINGERPRINT")[0]


def test_report_asks_the_network_for_nothing(folder):
    text = write_report(folder(ROWS)).read_text()
    sources = [a.get("src") or a.get("href") or "" for _, a in Outline(text).elements]
    assert not [source for source in sources if source.startswith(("http", "//"))]
    assert "@import" not in text
    assert "url(" not in text


def test_filmstrips_are_inside(folder):
    run = folder(ROWS)
    (run.path / "videos").mkdir()
    (run.path / "videos" / "b_failure.jpg").write_bytes(b"jpeg")
    images = [a["src"] for t, a in Outline(write_report(run).read_text()).elements if t == "img"]
    assert images == ["data:image/jpeg;base64,anBlZw=="]


def test_drift_and_unfinished_runs_are_said_so(folder):
    text = write_report(folder([fake_row(0, 0, drifted=True)])).read_text()
    assert "floor &lt;too&gt; dark" in text
    assert "Unfinished: 1 of 4" in text


def test_what_is_no_run_folder_is_refused(tmp_path, folder):
    with pytest.raises(RefusedError, match=r"episodes\.jsonl is missing"):
        write_report(RunFolder(tmp_path))
    with pytest.raises(RefusedError, match="at least one episode"):
        write_report(folder([]))


def test_summary_counts_errors_in_episodes_and_apart():
    summary = summarise(ROWS, FINGERPRINT)
    suite = summary["suites"]["fake_suite"]
    assert suite["tasks"]["0"] == {
        "episodes": 2,
        "successes": 1,
        "errors": 0,
        "rate": 0.5,
        "ci95": pytest.approx([0.0945, 0.9055], abs=1e-4),
    }
    assert (suite["episodes"], suite["errors"], suite["rate"]) == (4, 1, 0.25)
    assert {key: suite[key] for key in summary["overall"]} == summary["overall"]
    assert summary["fingerprint"] == FINGERPRINT
    assert "drifted" not in summary
    assert summarise([fake_row(drifted=True)], {})["drifted"] is True


def test_table_is_aligned_and_marks_drift():
    lines = table(ROWS).splitlines()
    assert len(lines) == 4
    assert len({line.index(" %") for line in lines[1:]}) == 1
    assert table([fake_row(drifted=True)]).startswith("DRIFTED")


def test_markup_is_escaped_unless_it_is_html():
    assert tag("p", "<i>", tag("b", "&"), title='"') == '<p title="&quot;">&lt;i&gt;<b>&amp;</b></p>'
    assert tag("p", Html("<i>"), hidden=True, id=None) == "<p hidden><i></p>"
    assert "<title>&lt;t&gt;</title>" in page("<t>", [])


def test_progress_prints_plain_lines_at_intervals_without_a_terminal():
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(4, [fake_row(0, 0)], stream, lambda: now[0])
    for trial, outcome in ((1, "FAILURE"), (2, "ERROR"), (3, "SUCCESS")):
        now[0] += 10.0
        progress.add(fake_row(0, trial, outcome))
    progress.close()
    assert stream.getvalue().splitlines() == [
        "3/4 episodes, 6.0 episodes/min, success 33.3% (1/3), 1 errors, 0:10 left",
        "4/4 episodes, 6.0 episodes/min, success 50.0% (2/4), 1 errors",
    ]


def test_progress_draws_a_bar_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    progress = Progress(2, [], stream)
    progress.add(fake_row(0, 0))
    progress.note("a worker died")
    progress.add(fake_row(0, 1))
    progress.close()
    assert "2/2" in stream.getvalue()
    assert "success 100.0% (2/2)" in stream.getvalue()
    assert "a worker died\n" in stream.getvalue()
