"""`jointadapt predict` and `evaluate`: a trained model at work."""

import dataclasses
import warnings

import click
from rich.table import Table
from rich.text import Text

from jointadapt.cli.printing import as_json, print_json, print_table, stdout, track
from jointadapt.errors import UserError


@click.command()
@click.argument("run")
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", "-o", help="CSV file to write instead of standard output.")
@as_json
def predict(run: str, paths: tuple[str, ...], out: str | None, json_: bool) -> None:
    """Print class and probability for new data, as CSV: image files, folders, image lists or arrays."""
    from jointadapt.data.reading import read_paths
    from jointadapt.runs.folder import write_predictions
    from jointadapt.runs.model import Model

    model, domains = Model.load(run), read_paths(paths, track=track(json_))
    results = [(domain, model.predict_proba(domain, track(json_))) for domain in domains]
    for domain in domains:
        for note in domain.notes:
            warnings.warn(note, stacklevel=1)
    if json_:
        rows = [
            {"item": item, "class": model.classes[p.argmax()], "probability": p.max().item()}
            for domain, probabilities in results
            for item, p in zip(domain.items, probabilities, strict=True)
        ]
        print_json({"predictions": rows})
        return
    try:
        with open(out, "x", newline="", encoding="utf-8", errors="surrogateescape") if out else stdout() as file:  # noqa: PTH123
            for number, (domain, probabilities) in enumerate(results):
                write_predictions(file, domain.unlabelled(), probabilities, model.classes, header=number == 0)
    except OSError as error:
        if isinstance(error, BrokenPipeError) or out is None:
            raise
        raise UserError(f"{out} cannot be written ({error.strerror}); choose another --out.") from error


@click.command()
@click.argument("run")
@click.argument("path")
@as_json
def evaluate(run: str, path: str, json_: bool) -> None:
    """Print accuracy, mean per-class accuracy and the confusion matrix on labelled data."""
    from jointadapt.data import UNLABELLED, read_domain
    from jointadapt.evaluation.metrics import evaluate as measure
    from jointadapt.runs.model import Model

    model, domain = Model.load(run), read_domain(path, track=track(json_))
    if not domain.labelled:
        raise UserError(f"{path} has no labels to evaluate on; give class folders, or use: jointadapt predict")
    for note in domain.notes:
        warnings.warn(note, stacklevel=1)
    domain, surplus = domain.in_classes(model.classes)
    if surplus:
        warnings.warn(f"not counted, as the model does not know them: {', '.join(surplus)}", stacklevel=1)
    result = measure(model.predict_proba(domain, track(json_)).argmax(1), domain.labels, len(model.classes))
    if result is None:
        raise UserError(f"{path} has none of the model's classes ({', '.join(model.classes[:5])}…) to evaluate on.")
    unknown = int((domain.labels == UNLABELLED).sum())
    if json_:
        print_json({**dataclasses.asdict(result), "classes": list(model.classes), "not_counted": unknown})
        return
    rows = f"{result.rows} rows" + (f", {unknown} not counted" if unknown else "")
    click.echo(f"accuracy                 {result.accuracy:6.2f} %  ({rows})")
    click.echo(f"mean per-class accuracy  {result.mean_per_class_accuracy:6.2f} %")
    table = Table("true \\ predicted", *(str(number) for number in range(len(model.classes))), title="confusion matrix")
    for number, (name, row) in enumerate(zip(model.classes, result.confusion, strict=True)):
        table.add_row(Text(f"{number} {name}"), *(str(count) if count else "·" for count in row))
    print_table(table)
