"""Evaluations and details of images that were never scored, for the tests of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adaptsr_cli.artifacts.base import BackboneIdentity, Method, Provenance
from adaptsr_cli.artifacts.evaluation import (
    Evaluation,
    ImageScores,
    ModelScores,
    PairedTest,
    ProtocolParameters,
    ScoreSpread,
)
from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.artifacts.rank_map import RankMap, SiteRank
from adaptsr_cli.artifacts.search import SearchRecord, Trial, TrialScore
from adaptsr_cli.report.comparison import Box
from adaptsr_cli.report.gallery import ImageDetail
from adaptsr_cli.report.html import Adaptation, ReportContent

PROVENANCE = Provenance(tool_version="1", command="eval", options={"metrics": "psnr"}, seed=0, data_fingerprint="00ff")
BACKBONE = BackboneIdentity(architecture="SAFMN", scale=4, params=240_000, sha256="0" * 64, source="safmn.pth")
METRICS = {"psnr_y_db": 25.0, "lpips_alex": 0.3}
COLOURS = {"LR, bicubic": (90, 90, 90), "backbone": (200, 30, 30), "merged": (30, 60, 200), "HR": (240, 240, 240)}


def make_evaluation(
    names: Sequence[str] = ("a", "b", "c"),
    models: Sequence[str] = ("backbone", "merged"),
    *,
    gains_db: Sequence[float] | None = None,
    metrics: dict[str, float] = METRICS,
) -> Evaluation:
    """An evaluation whose last model gains `gains_db` on PSNR and as much of a hundredth on the other metrics."""
    gains = list(gains_db) if gains_db is not None else [0.5 - 0.3 * number for number in range(len(names))]

    def scores(gain: float) -> dict[str, dict[str, float]]:
        step = {model: gain * (model == models[-1]) if len(models) > 1 else gain for model in models}
        return {
            model: {key: value + step[model] * (1 if key == "psnr_y_db" else -0.01) for key, value in metrics.items()}
            for model in models
        }

    images = tuple(
        ImageScores(name=name, width_px=960, height_px=640, file_sha256={"hr": "a" * 64, "lr": "b" * 64}, models=found)
        for name, found in zip(names, map(scores, gains), strict=True)
    )
    mean = float(np.mean(gains))
    return Evaluation(
        provenance=PROVENANCE,
        protocol="paper",
        protocol_text="paper: all of it",
        parameters=ProtocolParameters(
            reference=True,
            border_px=4,
            lr_crop_px=None,
            channels=("y", "rgb"),
            luma="bt601-16-235",
            output_type="uint8",
            ssim_window_px=11,
            ssim_sigma_px=1.5,
            ssim_downsampling=False,
            average="mean of per-image scores",
        ),
        versions={"torch": "2"},
        scale=4,
        data="camera",
        split="held-out",
        skipped_metrics={"dists": "no weights"},
        models=tuple(
            ModelScores(
                name=model,
                source=f"{model}.pth",
                sha256="c" * 64,
                metrics=scores(mean)[model],
                spread={
                    key: ScoreSpread(images=len(names), std=0.5, ci95_low=value - 1, ci95_high=value + 1)
                    for key, value in scores(mean)[model].items()
                },
            )
            for model in models
        ),
        comparisons=tuple(
            PairedTest(
                model=model,
                against=models[0],
                metric=key,
                mean_difference=scores(mean)[model][key] - scores(mean)[models[0]][key],
                ci95_low=-0.1,
                ci95_high=0.2,
                p_value=0.3,
                larger=2,
                smaller=1,
                test="permutation",
                scenes=len(names),
            )
            for model in models[1:]
            for key in metrics
        ),
        images=images,
    )


def make_specimens(evaluation: Evaluation, indices: Sequence[int], *, noise: bool = False) -> list[ImageDetail]:
    """A detail of each image: plain colours, or noise, which is the hardest to store."""
    models = [model.name for model in evaluation.models]
    details = []
    for index in indices:
        layers = {}
        for place, label in enumerate(("LR, bicubic", *models, "HR")):
            colour = COLOURS.get(label, (10 * place, 200, 100))
            pixels = np.full((480, 480, 3), colour, np.uint8)
            if noise:
                pixels = np.random.default_rng((index, place)).integers(0, 256, (480, 480, 3), dtype=np.uint8)
            layers[label] = pixels
        found = [scores["psnr_y_db"] for scores in evaluation.images[index].models.values()]
        gain = found[-1] - found[0] if len(models) > 1 else found[0]
        details.append(ImageDetail(index, gain, Box(240, 80, 480), layers, np.zeros((107, 160, 3), np.uint8)))
    return details


def make_adaptation() -> Adaptation:
    """The story of a small adaptation."""
    sites = tuple(
        SiteRank(
            name=f"feats.{block}.{module}",
            block=f"feats.{block}",
            kind="conv",
            shape=(8, 8),
            score=1.0,
            rank=(block + place) % 5,
            params=10 * ((block + place) % 5),
        )
        for block in range(4)
        for place, module in enumerate(("aggr", "ccm.0", "ccm.2"))
    )
    total = sum(site.params for site in sites)
    ranks = RankMap(
        backbone=BACKBONE,
        provenance=PROVENANCE,
        strategy="greedy",
        budget_params=total + 5,
        total_params=total,
        min_rank=0,
        max_rank=4,
        sites=sites,
    )
    log = [LogRow(iteration=0, val_psnr_y_db=23.5)]
    log += [
        LogRow(
            iteration=10 * n, loss=0.05 / n, learning_rate=0.001 / n, val_psnr_y_db=23.5 + 0.1 * n if n % 2 else None
        )
        for n in range(1, 20)
    ]
    return Adaptation(
        BACKBONE,
        rank_map=ranks,
        log=log,
        search=make_search(),
        card=("trained in 10 s",),
        steps=(("allocate", PROVENANCE),),
    )


def make_search() -> SearchRecord:
    """A search of which the third of four trials has won, and the fourth has failed."""
    pairs: tuple[tuple[Method, float], ...] = (("lora", 2e-3), ("full", 1e-3), ("lora", 5e-4), ("full", 1.0))
    scores = ((0.1,), (0.2, 0.15), (0.18, 0.3), (None,))
    trials = tuple(
        Trial(
            method=method,
            learning_rate=rate,
            scores=tuple(TrialScore(iteration=22 * (at + 1), gain_db=gain_db) for at, gain_db in enumerate(gains)),
        )
        for (method, rate), gains in zip(pairs, scores, strict=True)
    )
    return SearchRecord(
        backbone_sha256="0" * 64,
        data_fingerprint="00ff",
        seed=0,
        planned_iterations=300,
        trials=trials,
        winner_place=2,
        seconds=9.0,
    )


def make_content(evaluation: Evaluation | None = None, *, shown: int = 3, noise: bool = False) -> ReportContent:
    """A whole report."""
    evaluation = evaluation or make_evaluation()
    ends = range(len(evaluation.images))
    kept = [*ends[: (shown + 1) // 2], *ends[len(ends) - shown // 2 :]] if shown < len(ends) else list(ends)
    order = sorted(kept, key=lambda index: -evaluation.images[index].models[evaluation.models[-1].name]["psnr_y_db"])
    details = make_specimens(evaluation, order, noise=noise)
    return ReportContent(evaluation, details, make_adaptation(), "4 CPU cores")
