"""A finished run → the target examples that are worth a label first."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from jointadapt.config import Config
from jointadapt.data import Domain, read_domain
from jointadapt.data.benchmarks import load_benchmark
from jointadapt.data.benchmarks import read as read_benchmark
from jointadapt.data.target_labels import read_labels
from jointadapt.errors import UserError, some
from jointadapt.reporting import label_page
from jointadapt.runs.folder import config_of
from jointadapt.runs.model import Model
from jointadapt.runs.reading import folder_of, read_compared, read_predictions, read_run_config, read_summary
from jointadapt.runtime.files import default_cache, write_atomically
from jointadapt.runtime.progress import Track, silent
from jointadapt.runtime.random_state import preserved_rng_state
from jointadapt.runtime.torch_defaults import torch_defaults
from jointadapt.selection.few_labels import rows_to_tell_apart


@dataclass(frozen=True)
class Suggestion:
    """A target example to label: its name, the class that the model gives it, and how sure the model is.

    >>> Suggestion("cats/7.jpg", predicted="dog", probability=0.4).item
    'cats/7.jpg'
    """

    item: str
    predicted: str
    probability: float


@torch_defaults()
@preserved_rng_state()
def suggest_labels(
    run: str | Path,
    budget: int = 20,
    target: str | Path | Domain | None = None,
    *,
    backbone: str | nn.Module | None = None,
    weights: str | Path | None = None,
    cache: Path | None = None,
    track: Track = silent,
) -> list[Suggestion]:
    """Return the target examples of a run whose labels would teach it most, the most useful first.

    Those that the run was trained on with their labels are left out.

    Args:
        run: the folder of a finished run, or its model file.
        budget: how many examples.
        target: another target than the run's own: a path or a domain.
        backbone, weights: as `Model.load` takes them.

    Raises a `UserError` for a run on arrays in memory whose target is not given, and for a budget of more than there
    are. The caller's random generators are left as they were.
    """
    model, cache = Model.load(run, backbone=backbone, weights=weights), cache or default_cache()
    config = config_of(run) or model.config
    domain = target if isinstance(target, Domain) else read_target(run, config, target, cache, track)
    domain = model.inputs.target(domain)
    labelled = read_labels(config.target_labels) if config.target_labels else {}
    domain = domain.select([row for row, item in enumerate(domain.items) if item not in labelled])
    if not 0 < budget <= len(domain):
        raise UserError(
            f"--budget {budget}: {domain.name} has {len(domain)} examples to choose from; give 1 to that many."
        )
    features, probabilities = model.outputs(domain, track, cache=cache)
    rows = worth_labelling(features, probabilities, budget)
    confidence, predicted = probabilities.max(1)
    return [Suggestion(domain.items[row], model.classes[predicted[row]], confidence[row].item()) for row in rows]


def suggest_for_choosing(run: str | Path, budget: int = 20) -> list[Suggestion]:
    """Return the target examples of an `auto` run whose labels would tell best which of its models to use.

    They are drawn in proportion to the models' disagreement (`rows_to_tell_apart`), and not again where they were
    labelled before; a run that had labels to choose by lets its likely models dispute among themselves.

    Args:
        run: the folder of a finished run of `--method auto`.
        budget: how many examples.

    Raises a `UserError` for another run, and for a budget of more than the examples on which some models disagree.
    """
    folder = Path(run)
    own, compared, config = read_predictions(folder), read_compared(folder), read_run_config(folder)
    judged = read_summary(folder).few_labels
    likely = {folder_of(name): share for name, share in judged.posterior.items()} if judged else {}
    weights = [likely.get(name, 0.0) for name in compared] if judged else None
    labelled = read_labels(config.target_labels) if config.target_labels else {}
    told = [[rows[row.row].predicted for rows in compared.values()] for row in own]
    left = [row for row in own if row.item not in labelled and len({*told[row.row]}) > 1]
    if not 0 < budget <= len(left):
        raise UserError(
            f"--budget {budget}: the models of {folder} disagree on {len(left)} examples that have no label; give 1 to "
            "that many."
        )
    index = {name: number for number, name in enumerate(dict.fromkeys(name for names in told for name in names))}
    classes = torch.tensor([[index[name] for name in told[row.row]] for row in left])
    generator = torch.Generator().manual_seed(config.seed + len(labelled))
    found = (left[row] for row in rows_to_tell_apart([*classes.T], budget, weights, generator))
    return [Suggestion(row.item, row.predicted, row.probability) for row in found]


def write_label_page(
    path: str | Path,
    run: str | Path,
    suggestions: Sequence[Suggestion],
    target: str | Path | Domain | None = None,
    *,
    backbone: str | nn.Module | None = None,
    weights: str | Path | None = None,
    cache: Path | None = None,
    track: Track = silent,
) -> int:
    """Write a page by which a person labels the suggested examples; return its size in bytes.

    It is one file that needs no server and no network. It shows pictures, plots of signals or rows of a table, and
    hands out the answers as the CSV that `--target-labels` takes, called after the page: `ask.html` gives
    `ask-labels.csv`.

    Args:
        path: the file; one that is there is replaced.
        run, target, backbone, weights: as `suggest_labels` takes them; a target has to hold the suggested examples.
        suggestions: what `suggest_labels` or `suggest_for_choosing` has found.

    Raises a `UserError` where examples are no longer there, for more than 1,000 of them, and for a place that cannot be
    written to.
    """
    path = Path(path)
    model, cache = Model.load(run, backbone=backbone, weights=weights), cache or default_cache()
    config = config_of(run) or model.config
    domain = target if isinstance(target, Domain) else read_target(run, config, target, cache, track)
    domain = model.inputs.seen(domain)
    rows = {item: row for row, item in enumerate(domain.items)}
    if gone := [row.item for row in suggestions if row.item not in rows]:
        raise UserError(
            f"{len(gone)} of the {len(suggestions)} suggested examples are not in {domain.name} ({some(gone)}); "
            "put them back, or name by --target where the run's target lies now."
        )
    guesses = {rows[row.item]: (row.predicted, row.probability) for row in suggestions}
    page = label_page.render(domain, guesses, model.classes, f"{path.stem}-labels.csv").encode()
    write_atomically(path, lambda file: file.write(page))
    return len(page)


def read_target(run: str | Path, config: Config, target: str | Path | None, cache: Path, track: Track) -> Domain:
    """Return the target at a path, else the run's own: its path, or the second domain of its benchmark's task."""
    if target:
        return read_domain(target, cache, track, config.reading)
    if config.target:
        return read_domain(config.target, cache, track, config.reading_of("target"))
    if not config.benchmark:
        raise UserError(f"{run} was trained on arrays in memory; name the target with --target.")
    benchmark = load_benchmark(config.benchmark)
    return read_benchmark(benchmark, benchmark.task(config.task)[1], Path(config.root), cache, track)


def worth_labelling(features: Tensor, probabilities: Tensor, budget: int, seed: int = 0) -> list[int]:
    """Return the indices of `budget` distinct examples, uncertain and unlike one another, the most useful first.

    The features (n, d) are clustered into `budget` groups by k-means in which an example weighs as much as the entropy
    of its probabilities (n, classes); the one nearest to a group's centre stands for it, and groups come in the order
    of their weight. Source: CLUE, Prabhu et al., ICCV 2021, Eq. (5).

    >>> x = torch.tensor([[0.0], [0.1], [5.0], [5.1], [9.0]])
    >>> p = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.6, 0.4], [0.9, 0.1], [1.0, 0.0]])
    >>> worth_labelling(x, p, 2)
    [0, 2]
    """
    weights = torch.special.entr(probabilities.double()).sum(1) + torch.finfo(torch.float32).eps
    clustering = KMeans(budget, n_init=3, random_state=seed)  # pyright: ignore[reportArgumentType]
    groups = clustering.fit(features.double().numpy(), sample_weight=weights.numpy())
    distances = torch.cdist(torch.from_numpy(groups.cluster_centers_), features.double())
    mass = torch.zeros(budget, dtype=torch.float64).index_add_(0, torch.from_numpy(groups.labels_).long(), weights)
    chosen: list[int] = []
    for group in mass.argsort(descending=True, stable=True).tolist():
        distances[group, chosen] = torch.inf
        chosen.append(int(distances[group].argmin()))
    return chosen


def write_suggestions(file: Any, suggestions: list[Suggestion]) -> None:
    """Write a CSV whose column `label` is to be filled in; `--target-labels` reads it.

    >>> import sys
    >>> write_suggestions(sys.stdout, [Suggestion("7.jpg", "dog", 0.4)])
    item,label,class,probability
    7.jpg,,dog,0.400000
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["item", "label", "class", "probability"])
    writer.writerows([row.item, "", row.predicted, f"{row.probability:.6f}"] for row in suggestions)
