"""The report: every run folder gives a page that is whole, safe, small and the same each time."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jointadapt.reporting import run_figures as figures
from jointadapt.reporting.html import plain
from jointadapt.reporting.run_report import write_report
from jointadapt.runs.reading import read_run

MOST_BYTES = 1_500_000
HOSTILE = (
    '<script>alert("1")</script>',
    "two\nlines",
    "\u202etxt.exe\u200f",
    "$x_1^{$ \\frac",
    'say "it\'s" & go',
    "图像 🦜 שלום",
    "\udcff\x00\x1b[31m",
)


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and the text of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        self.text += "" if self._in_style else data.replace("\N{NO-BREAK SPACE}", " ")

    def all(self, tag: str, css_class: str = "") -> list[dict[str, str | None]]:
        """Return the attributes of the elements of one kind."""
        return [a for name, a in self.elements if name == tag and css_class in (a.get("class") or "")]

    def figure_names(self) -> list[str]:
        return [svg["aria-label"] or "" for svg in self.all("svg") if "aria-label" in svg]


def write_run(
    folder: Path,
    *,
    classes: tuple[str, ...] = ("bike", "mug", "pen"),
    rows: int = 30,
    steps: int = 60,
    labels: bool = True,
    baseline: bool = True,
    method: str = "jan",
) -> Path:
    """Write a synthetic run folder and return it; rows are those of each domain."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(method))
    n = len(classes)
    truth = np.arange(rows) % n
    predicted = np.where(rng.random(rows) < 0.7, truth, (truth + 1) % n)
    confusion = np.zeros((n, n), int)
    np.add.at(confusion, (truth, predicted), 1)
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(steps):
            used = method != "source-only"
            record = {"step": step, "progress": step / steps, "risk": 1 / (step + 1), "learning_rate": 0.01}
            file.write(json.dumps({**record, "transfer": 0.1 * used, "trade_off": step / steps * used}) + "\n")
    write_predictions(folder, [classes[c] for c in predicted], [classes[c] for c in truth] if labels else None)
    centres = 5 * rng.normal(size=(n, 8))
    features = {
        "source": (centres[truth] + rng.normal(size=(rows, 8))).astype(np.float32),
        "target": (centres[truth] + 2 + rng.normal(size=(rows, 8))).astype(np.float32),
        "source_labels": truth,
        "target_predicted": predicted,
    }
    np.savez(folder / "features.npz", **features, **({"target_labels": truth} if labels else {}))  # pyright: ignore
    (folder / "config.toml").write_text(f'method = "{method}"\nsteps = {steps}\n')
    summary = {
        "jointadapt": "0.1.0",
        "method": method,
        "backbone": "resnet18",
        "frozen": True,
        "steps": steps,
        "seed": 0,
        "seconds": 12.3,
        "task": "amazon → webcam",
        "classes": classes,
        "source": {"path": "amazon", "rows": rows, "labelled": True, "skipped": 0},
        "target": {"path": "webcam", "rows": rows, "labelled": labels, "skipped": 2},
        "target_labels": 0,
        "warnings": [],
        "selection": {
            "rule": "snd",
            "step": 30,
            "candidates": [{"step": 30, "eligible": True, "scores": {"snd": 4.0}, **worth(87.0 if labels else None)}],
            "choices": {
                "snd": {"step": 30, **worth(87.0 if labels else None)},
                "last": {"step": 60, **worth(85.5 if labels else None)},
                **({"oracle": {"step": 20, **worth(91.25)}} if labels else {}),
            },
            "trade_off": {
                "rule": "snd",
                "chosen": 0.2,
                "trials": [{"trade_off": 0.2, "fold": 0, "score": 3.5, "eligible": True}],
            },
        },
        "source_accuracy": 99,
        "evaluation": {
            "accuracy": 100 * float((truth == predicted).mean()),
            "mean_per_class_accuracy": 70.0,
            "confusion": confusion.tolist(),
            "rows": rows,
        },
        "baseline": None,
        "agreement": None,
        "verdict": "Adaptation helped by 12.5 points.",
        "confidence": 0.87,
        "versions": {"torch": "2.6"},
    }
    if not labels:
        summary |= {"evaluation": None, "verdict": "Without target labels it cannot be measured."}
    if baseline:
        other = write_run(
            folder / "source-only",
            classes=classes,
            rows=rows,
            steps=steps,
            labels=labels,
            baseline=False,
            method="source-only",
        )
        told = json.loads((other / "summary.json").read_text())
        keys = ("evaluation", "source_accuracy", "confidence")
        summary |= {"baseline": {key: told[key] for key in keys}, "agreement": 81.25}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def worth(accuracy: float | None) -> dict[str, float | None]:
    return {"accuracy": accuracy, "mean_per_class_accuracy": accuracy}


def write_predictions(folder: Path, predicted: list[str], truth: list[str] | None) -> None:
    with (folder / "predictions.csv").open("w", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "class", "probability", *(["label"] if truth else [])])
        for i, name in enumerate(predicted):
            item = f"webcam/{HOSTILE[i % len(HOSTILE)]}/{i}.png".replace("\x00", "")
            writer.writerow([item, name, 0.3 + 0.6 * i / len(predicted), *([truth[i]] if truth else [])])


def picture(i: int) -> Image.Image | None:
    return None if i == 1 else Image.new("RGB", (300, 200), (i % 256, 90, 120))


def read_page(run: Path, thumbnail: Callable[[int], Image.Image | None] | None = picture) -> Page:
    """Write the report and return it, having checked what holds for every page."""
    path = write_report(run, thumbnail)
    assert path == run / "report.html"
    html = path.read_text("utf-8")
    assert len(html.encode()) < MOST_BYTES
    page = Page(html)
    assert not page.all("script")
    assert not page.all("link")
    assert "http" not in re.sub(r"http-equiv", "", html)
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    references = [v or "" for _, a in page.elements for k, v in a.items() if k in ("src", "href", "xlink:href")]
    assert all(r.startswith(("data:image/", "#")) for r in references)
    assert all(u.startswith("#") for u in re.findall(r"url\(([^)]*)\)", html))
    ids = Counter(a["id"] for _, a in page.elements if a.get("id"))
    assert not [name for name, count in ids.items() if count > 1]
    targets = [r[1:] for r in references if r.startswith("#")] + re.findall(r"url\(#([^)]*)\)", html)
    assert set(targets) <= ids.keys()
    assert all(a.get("alt") for a in page.all("img"))
    assert not re.search(r"\b(nan|None)\b", page.text)
    assert not [f for f in run.iterdir() if f.name.startswith(".report")]
    return page


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return read_page(run)


def test_no_backbone_is_called_none(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    (folder / "summary.json").write_text(json.dumps({**summary, "backbone": "none", "frozen": False}), "utf-8")
    assert "JAN without a backbone · 60 steps" in read_page(folder).text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_first_screen_says_what_came_out(page: Page) -> None:
    opening = page.text.split("What was run")[0]
    for words in ("amazon → webcam", "JAN on resnet18, frozen", "Adaptation helped by 12.5 points.", "source-only"):
        assert words in opening
    for words in ("Target accuracy *", "99.0 %", "87.0 %", "81.2 % of the target examples"):
        assert words in opening


def test_the_page_says_which_criterion_chose_and_what_others_would_have_given(page: Page) -> None:
    for words in (
        "step 30, chosen by snd, which sees no target label",
        "last 85.5 % (step 60), oracle 91.2 % (step 20): target accuracy, evaluation only",
        "0.2, chosen by snd (higher is better: 0.2: 3.5)",
    ):
        assert words in page.text


def test_evaluation_is_marked(page: Page) -> None:
    assert "evaluation only Target labels were never used in training." in page.text
    assert "Where it errs evaluation only" in page.text
    assert page.text.count("evaluation only") >= 4


def test_every_figure_is_there_with_words(page: Page) -> None:
    names = " | ".join(page.figure_names())
    for words in ("Risk on the source", "Transfer", "Trade-off", "features of source-only", "features of JAN"):
        assert words in names
    assert "Confusion matrix of 3 classes" in names
    assert len(page.figure_names()) == 3 + 4 + 1
    assert len(page.all("figcaption")) == len(page.all("figure")) == 4


def test_wrong_predictions_are_marked_by_more_than_colour(run: Path, page: Page) -> None:
    rows = read_run(run).predictions
    shown = rows[:12] + rows[-12:]
    wrong = [row for row in shown if row.predicted != row.label]
    assert wrong
    assert len(page.all("li", "wrong")) == len(wrong) == page.text.count("✗ is ")
    assert page.text.count("✓ right") == len(shown) - len(wrong)
    assert len(page.all("img")) == len(shown) - 1


def test_the_same_folder_gives_the_same_page(run: Path, page: Page) -> None:
    assert page
    first = (run / "report.html").read_bytes()
    assert write_report(run, picture).read_bytes() == first


@pytest.mark.parametrize("baseline", [False, True])
def test_names_show_as_text(tmp_path: Path, baseline: bool) -> None:
    run = write_run(tmp_path, classes=HOSTILE, baseline=baseline)
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"task": HOSTILE[0], "warnings": list(HOSTILE), "verdict": HOSTILE[1]}
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "config.toml").write_text('source = "</pre><script>alert(1)</script>"\n')
    page = read_page(run)
    for name in HOSTILE:
        assert plain(name) in page.text
    assert '</pre><script>alert(1)</script>"' in page.text
    assert not re.search("[\u202e\u200f\x00\x1b]", page.text)


def test_without_target_labels_nothing_is_claimed(tmp_path: Path) -> None:
    page = read_page(write_run(tmp_path, labels=False))
    assert "cannot be measured" in page.text
    assert "The target has no labels here, so its accuracy is not known." in page.text
    assert "Target accuracy" not in page.text
    assert "Where it errs" not in page.text
    assert "evaluation only" not in page.text
    assert "✓" not in page.text
    assert "the class that was predicted" in page.text


def test_without_a_baseline_there_is_one_column(tmp_path: Path) -> None:
    page = read_page(write_run(tmp_path, baseline=False))
    assert "source-only" not in page.text
    assert "Before" not in page.text
    assert len(page.figure_names()) == 3 + 2 + 1


def test_a_baseline_alone_has_no_transfer(tmp_path: Path) -> None:
    page = read_page(write_run(tmp_path, baseline=False, method="source-only"))
    assert not [name for name in page.figure_names() if name.startswith(("Transfer", "Trade-off"))]
    assert "Features: source-only, by domain" in page.text


def test_one_step_and_five_rows_are_enough(tmp_path: Path) -> None:
    page = read_page(write_run(tmp_path, rows=5, steps=1))
    assert len(page.figure_names()) == 3 + 4 + 1
    assert len(page.all("ul", "pictures")) == 2
    assert len(page.all("img")) == 4


def test_sixty_five_classes_stay_readable(tmp_path: Path) -> None:
    page = read_page(write_run(tmp_path, classes=tuple(f"class number {i}" for i in range(65)), rows=130))
    assert "The 20 weakest of 65 classes" in page.text
    assert len(page.all("span", "bar")) == 20
    assert "Confusion matrix of 65 classes" in " ".join(page.figure_names())
    assert not page.all("text", "strong")


@pytest.mark.parametrize("missing", ["config.toml", "metrics.jsonl", "predictions.csv", "features.npz", "source-only"])
def test_a_missing_part_is_left_out(tmp_path: Path, missing: str) -> None:
    run = write_run(tmp_path, rows=6, baseline=missing == "source-only")
    part = run / missing
    part.rename(run / "elsewhere")
    assert "amazon → webcam" in read_page(run).text


def test_the_summary_alone_makes_a_page(run: Path, tmp_path: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps({**summary, "task": "", "baseline": None}))
    assert "Domain adaptation" in read_page(tmp_path).text


def test_a_crashed_and_diverged_run_still_reports(tmp_path: Path) -> None:
    run = write_run(tmp_path, rows=6, baseline=False)
    lines = [
        '{"step": 0, "risk": 1.0, "transfer": NaN, "trade_off": 0}',
        '{"step": 1, "risk": Infinity}',
        '{"step": 2, "r',
    ]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    with np.load(run / "features.npz") as file:
        np.savez(run / "features.npz", **{**file, "source": np.full((6, 8), np.nan, np.float32)})  # pyright: ignore
    page = read_page(run, None)
    assert not page.all("img")
    assert page.figure_names()[0].startswith("Risk on the source")
    assert not [name for name in page.figure_names() if "t-SNE" in name]


@pytest.mark.parametrize("content", [None, "{"])
def test_a_folder_without_a_summary_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises((FileNotFoundError, ValueError), match=r"summary"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I", "I;16", "F"])
def test_pictures_of_every_mode_become_small_ones(mode: str) -> None:
    assert len(figures.data_uri(Image.new(mode, (900, 400)))) < 8_000


@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 4), (2, 2, 1), (3, 1, 2), (40, 9, 1)])
def test_the_map_adapts_to_small_samples(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(0)
    plane = figures.tsne(rng.normal(size=(n, d)), rng.normal(size=(m, d)))
    if n + m < figures.FEWEST_MAP_POINTS:
        assert plane is None
    else:
        assert plane is not None
        assert [part.shape for part in plane] == [(n, 2), (m, 2)]
        assert np.isfinite(np.concatenate(plane)).all()


def test_equal_features_have_no_map() -> None:
    assert figures.tsne(np.ones((5, 3)), np.ones((5, 3))) is None


def test_smoothing_keeps_a_constant_and_its_length() -> None:
    for n in (1, 2, 7, 100):
        assert figures.running_mean(np.ones(n), 5).tolist() == [1.0] * n


def test_small_numbers_keep_their_digits_on_the_axis() -> None:
    svg = figures.curve(([0.0, 1.0, 2.0], [0.001, 0.002, 0.003]), None, smooth=False, name="small", alt="small")
    assert ">0.0015<" in svg
