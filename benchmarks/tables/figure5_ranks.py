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

from adaptsr_cli.artifacts.base import RankMap
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.allocate.stage import AllocateOptions, allocate
from adaptsr_cli.stages.common.models import ModelSpec
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.score import ScoreOptions, score
from adaptsr_cli.units import parse_budget


def main() -> None:
    """Makes the picture and the summary."""
    setting = read_setting(__doc__, "figure5")
    backbone = setting.bench.backbone
    choice = ModelSpec(str(backbone) if backbone else None, Path(), offline=True)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        score(ScoreOptions(run=run, model=choice, data=DataSpec.of(setting.bench.data)), Silent())
        allocate(AllocateOptions(run=run, budget=parse_budget(setting.base.budget), strategy="greedy"), Silent())
        rank_map = read_document(run.rank_map, RankMap)
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
