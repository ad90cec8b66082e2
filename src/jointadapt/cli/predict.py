"""`jointadapt predict`: a trained model on new data."""

import warnings
from typing import Any

import click

from jointadapt.cli.flags import input_flags, model_flags, take_inputs
from jointadapt.cli.printing import as_json, output, print_json, track


@click.command(short_help="Print class and probability for new data, as CSV.")
@click.argument("run")
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", "-o", help="CSV file to write instead of standard output.")
@model_flags
@input_flags("label_column", "domain_column", "target_domain")
@as_json
def predict(run: str, paths: tuple[str, ...], out: str | None, json_: bool, **of_model: Any) -> None:
    """Print class and probability for new data, as CSV: image files, folders, image lists or arrays.

    A model that was trained with --unknown also prints the nearest class and a score; above its threshold the class is
    "unknown".
    """
    from jointadapt.data.labels import UNKNOWN
    from jointadapt.data.reading import read_paths
    from jointadapt.runs.folder import UnknownCalls, write_predictions
    from jointadapt.runs.model import Model

    given = take_inputs(of_model)
    model = Model.load(run, **of_model)
    reading = model.config.reading_again(**given)
    read = read_paths(paths, track=track(json_), reading=reading)
    domains = [model.inputs.target(domain) for domain in read]
    results = [(domain, model.predict_proba(domain, track(json_)), None) for domain in domains]
    if model.unknown is not None:
        threshold = model.unknown.threshold
        results = [(d, p, UnknownCalls(model.unknown_scores(d, track(json_)), threshold)) for d, p, _ in results]
    for domain in domains:
        for note in domain.notes:
            warnings.warn(note, stacklevel=1)
    if json_:
        rows = []
        for domain, probabilities, calls in results:
            for number, (item, p) in enumerate(zip(domain.items, probabilities, strict=True)):
                row = {"item": item, "class": model.classes[p.argmax()], "probability": p.max().item()}
                if calls is not None:
                    row |= {"nearest": row["class"], "unknown_score": calls.scores[number].item()}
                    row |= {"class": UNKNOWN} if calls.called[number] else {}
                rows.append(row)
        print_json({"predictions": rows})
        return
    with output(out) as file:
        for number, (domain, probabilities, calls) in enumerate(results):
            write_predictions(file, domain, probabilities, model.classes, header=number == 0, unknown=calls)
