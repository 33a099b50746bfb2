"""Are several adapters averaged better than the best one of them, at the same inference cost?

    python benchmarks/tables/soup.py --data iphone/ --seeds 5

Trains one adapter a seed on the same pairs, watching the same held-out ones, and scores each, their average, and the
average with weights and strength chosen on one half of the held-out pairs (then scored on the other half as well).
"""

import json
import tempfile
from pathlib import Path

import torch
from study import RESULTS, read_setting

from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.data.layouts import Pair
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.progress import Silent
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.training_data import DEFAULT_CACHE, open_training_data
from adaptsr_cli.stages.evaluate.options import EvaluateOptions
from adaptsr_cli.stages.evaluate.stage import run_evaluate
from adaptsr_cli.stages.merge.options import MergeOptions
from adaptsr_cli.stages.merge.stage import run_merge
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.stage import run_train


def main() -> None:
    """Trains, merges and scores."""
    setting = read_setting(__doc__, "soup", seeds=5)
    torch.set_num_threads(setting.bench.threads)
    backbone = setting.bench.backbone or default_model()
    images = open_training_data(DataSpec.of(setting.bench.data), None, 0, Silent(), None, DEFAULT_CACHE)
    scores: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        held_out = [pair for pairs in images.held_out for pair in pairs.pairs]
        lay_out([pair for pairs in images.train for pair in pairs.pairs], root / "train")
        lay_out(held_out, root / "all")
        lay_out(held_out[::2], root / "tune")
        lay_out(held_out[1::2], root / "rest")
        scores["backbone"] = score_on(root, str(backbone))
        adapters = []
        for seed in setting.seeds:
            run = RunFolder(root / f"seed-{seed}")
            run_train(
                TrainOptions(
                    run=run.root,
                    model=str(backbone),
                    offline=True,
                    data=str(root / "train"),
                    val=root / "all",
                    iterations=setting.base.iterations,
                    batch=setting.base.batch,
                    patch=setting.base.patch,
                    method="lora",
                    learning_rate=setting.base.lr,
                    seed=seed,
                    val_freq=setting.base.iterations,
                )
            )
            run_merge(MergeOptions(run=run.root, model=str(backbone), offline=True))
            adapters.append(run.adapter)
            scores[f"seed {seed}"] = score_on(root, str(run.merged))
        blends = {"average of all": None, "weights and strength by --tune on one half": root / "tune"}
        for name, tune in blends.items():
            run = RunFolder(root / name.replace(" ", "-"))
            run_merge(
                MergeOptions(run=run.root, model=str(backbone), offline=True, adapters=tuple(adapters), tune=tune)
            )
            scores[name] = score_on(root, str(run.merged))
    report = {
        "backbone": Path(backbone).name,
        "data": setting.bench.data.name,
        "iterations": setting.base.iterations,
        "machine": describe_machine(pick_device("auto")),
        "scores": scores,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / setting.output
    path.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))


def lay_out(pairs: list[Pair], folder: Path) -> None:
    """A folder of pairs made of links."""
    for pair in pairs:
        assert pair.lr is not None
        for side, path in (("HR", pair.hr), ("LR", pair.lr)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            (folder / side / f"{pair.name}{path.suffix}").symlink_to(path.resolve())


def score_on(root: Path, model: str) -> dict[str, float]:
    """PSNR-Y on all held-out pairs and on the half that nothing was chosen by."""
    found = {}
    for part in ("all", "rest"):
        options = EvaluateOptions(
            run=root / f"eval-{part}-{len(list(root.iterdir()))}",
            data=(str(root / part),),
            offline=True,
            models=(model,),
            metrics="psnr",
            force=True,
        )
        found[part] = run_evaluate(options).evaluation.models[0].metrics["psnr_y_db"]
    return found


def to_markdown(report: dict) -> str:
    """The scores as a table."""
    lines = [
        f"{report['backbone']} on {report['data']}, {report['iterations']} iterations; {report['machine']}.",
        "",
        "| | PSNR-Y, all held-out | PSNR-Y, the other half |",
        "|---|---|---|",
    ]
    for name, scores in report["scores"].items():
        lines.append(f"| {name} | {scores['all']:.3f} | {scores['rest']:.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
