"""`--trade-off search`: λ chosen without target labels."""

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Literal

from lightning_fabric import Fabric

from jointadapt.config import Config
from jointadapt.experiment.fit import fit
from jointadapt.experiment.prepare import Prepared
from jointadapt.experiment.run import Run, expected_shares
from jointadapt.runs.folder import RunFolder
from jointadapt.runtime.progress import Track
from jointadapt.selection.checkpoints import LAST, Candidates
from jointadapt.selection.criteria import CRITERIA, FOLDS, choose
from jointadapt.training.distributed import Ranks

TRADE_OFFS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def choose_trade_off(
    config: Config, data: Prepared, baseline: Run | None, fabric: Fabric, track: Track
) -> float | Literal["auto"]:
    """Return the λ of the highest score without target labels; every trial is kept in trade-off.json.

    The criterion is the one that selects checkpoints, else transfer cross-validation, the paper's. One that holds rows
    out is averaged over folds of the source. A λ is eligible if its model of every fold is; "auto" if none is.
    """
    out, run = Path(config.out), RunFolder(Path(config.out), fabric.is_global_zero)
    rule = "transfer-cv" if config.select == LAST else config.select
    trained = None if baseline is None else baseline.model.network
    ranks = Ranks.of(fabric)
    trials = (run.read_trade_offs() or {"trials": []})["trials"]
    for ceiling, fold in product(TRADE_OFFS, range(FOLDS if CRITERIA[rule].holds_out else 1)):
        if any((trial["trade_off"], trial["fold"]) == (ceiling, fold) for trial in trials):
            continue
        folder = RunFolder(out / "trade-off" / f"{ceiling:g}-{fold}", run.writes)
        candidates = Candidates(rule, data.source, data.target, expected_shares(baseline, data), fold, ranks)
        trial = replace(config, trade_off=ceiling, out=str(folder.path))
        fit(trial, candidates, data, trained, folder, fabric, track)
        trials.append({"trade_off": ceiling, "fold": fold, **candidates.judged(last=config.select == LAST)})
        run.write_trade_offs({"rule": rule, "chosen": None, "trials": trials})
        if run.writes:
            shutil.rmtree(folder.path)
    groups = [[trial for trial in trials if trial["trade_off"] == ceiling] for ceiling in TRADE_OFFS]
    allowed = [all(trial["eligible"] for trial in group) for group in groups]
    best = choose([mean(trial["score"] for trial in group) for group in groups], allowed)
    chosen = "auto" if best is None else TRADE_OFFS[best]
    run.write_trade_offs({"rule": rule, "chosen": chosen, "trials": trials})
    if run.writes:
        shutil.rmtree(out / "trade-off", ignore_errors=True)
    return chosen
