"""`jointadapt evaluate`: a trained model on labelled data."""

import dataclasses
import warnings
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from jointadapt.cli.flags import input_flags, model_flags, take_inputs
from jointadapt.cli.printing import as_json, describe_open_set, print_json, print_table, track
from jointadapt.errors import UserError


@click.command(short_help="Print accuracy and confusion matrix on labelled data.")
@click.argument("run")
@click.argument("path")
@model_flags
@input_flags("label_column", "domain_column", "target_domain")
@as_json
def evaluate(run: str, path: str, json_: bool, **of_model: Any) -> None:
    """Print accuracy, mean per-class accuracy and the confusion matrix on labelled data.

    Of a model that was trained with --unknown also how well it tells classes that it does not know.
    """
    from jointadapt.data import UNLABELLED, read_domain
    from jointadapt.evaluation.metrics import evaluate as measure
    from jointadapt.evaluation.open_set import evaluate_open_set
    from jointadapt.runs.model import Model

    given = take_inputs(of_model)
    model = Model.load(run, **of_model)
    reading = model.config.reading_again(**given)
    domain = model.inputs.target(read_domain(path, track=track(json_), reading=reading))
    if not domain.labelled:
        raise UserError(f"{path} has no labels to evaluate on; give class folders, or use: jointadapt predict")
    for note in domain.notes:
        warnings.warn(note, stacklevel=1)
    labelled = domain.labels != UNLABELLED
    domain, surplus = domain.in_classes(model.classes)
    if surplus:
        uncounted = "not counted" if model.unknown is None else "not counted in accuracy, but as unknown"
        warnings.warn(f"{uncounted}, as the model does not know them: {', '.join(surplus)}", stacklevel=1)
    predicted = model.predict_proba(domain, track(json_)).argmax(1)
    result = measure(predicted, domain.labels, len(model.classes))
    open_set = None
    if model.unknown is not None:
        scores, lacking = model.unknown_scores(domain, track(json_)), labelled & (domain.labels == UNLABELLED)
        open_set = evaluate_open_set(predicted, scores, model.unknown.threshold, domain.labels, lacking)
    if result is None:
        raise UserError(f"{path} has none of the model's classes ({', '.join(model.classes[:5])}…) to evaluate on.")
    unknown = int((domain.labels == UNLABELLED).sum())
    if json_:
        told = {} if open_set is None else {"unknown": dataclasses.asdict(open_set)}
        print_json({**dataclasses.asdict(result), "classes": list(model.classes), "not_counted": unknown, **told})
        return
    examples = f"{result.rows} examples" + (f", {unknown} not counted" if unknown else "")
    click.echo(f"accuracy                 {result.accuracy:6.2f} %  ({examples})")
    click.echo(f"mean per-class accuracy  {result.mean_per_class_accuracy:6.2f} %")
    if open_set is not None:
        click.echo(describe_open_set(open_set))
    table = Table("true \\ predicted", *(str(number) for number in range(len(model.classes))), title="confusion matrix")
    for number, (name, row) in enumerate(zip(model.classes, result.confusion, strict=True)):
        table.add_row(Text(f"{number} {name}"), *(str(count) if count else "·" for count in row))
    print_table(table)
