"""The rank heatmap of a network, blocks by modules (AdaptSR, Figure 5).

    python benchmarks/tables/figure5_ranks.py --data iphone/

Scores and allocates with the stages of the command, and keeps the picture and how the ranks lie over depth and kinds.
"""

import json
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

from study import RESULTS, read_setting

from adaptsr_cli.stages.allocate.options import AllocateOptions
from adaptsr_cli.stages.allocate.stage import run_allocate
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import run_score


def main() -> None:
    """Make the picture and the summary."""
    setting = read_setting(__doc__, "figure5")
    backbone = setting.bench.backbone
    model = str(backbone) if backbone else None
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        run_score(ScoreOptions(run=run.root, model=model, offline=True, data=str(setting.bench.data)))
        allocation = AllocateOptions(run=run.root, budget=setting.base.budget, strategy="greedy")
        rank_map = run_allocate(allocation).rank_map
        RESULTS.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.rank_map.with_suffix(".png"), RESULTS / f"{setting.output}.png")
    blocks: dict[str, list[int]] = defaultdict(list)
    kinds: dict[str, list[int]] = defaultdict(list)
    for site in rank_map.sites:
        blocks[site.block or "(outside of blocks)"].append(site.rank)
        kinds[site.kind].append(site.rank)
    summary = {
        "budget_params": rank_map.budget_params,
        "total_params": rank_map.total_params,
        "mean_rank_by_block": {name: sum(ranks) / len(ranks) for name, ranks in blocks.items()},
        "mean_rank_by_kind": {name: sum(ranks) / len(ranks) for name, ranks in kinds.items()},
    }
    (RESULTS / f"{setting.output}.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
