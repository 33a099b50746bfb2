from __future__ import annotations

import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from report.pages import make_search

from adaptsr_cli.artifacts.base import BackboneIdentity, Provenance, SiteKind
from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.artifacts.rank_map import RankMap, SiteRank
from adaptsr_cli.artifacts.saliency import Saliency, SiteSaliency
from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.report.comparison import ComparisonRow
from adaptsr_cli.report.figures import draw_curves, draw_rank_heatmap, draw_saliency, draw_search
from adaptsr_cli.report.sheet import draw_comparison

HOW = ("paper: as usual", lambda rgb: rgb.astype(float).mean(axis=2))
BACKBONE = BackboneIdentity(architecture="SAFMN", scale=4, params=239_520, sha256="0" * 64, source="safmn")
PROVENANCE = Provenance(tool_version="0", command="test", options={}, seed=0, data_fingerprint="")


def names_of(blocks: int) -> list[tuple[str, str, SiteKind]]:
    inside: list[tuple[str, str, SiteKind]] = []
    for number in range(blocks):
        inside += [
            (f"feats.{number}.ccm.0", f"feats.{number}", "conv"),
            (f"feats.{number}.attn.qkv#q", f"feats.{number}", "attention"),
            (f"feats.{number}.mlp.fc1", f"feats.{number}", "mlp"),
        ]
    return [("to_feat", "", "conv"), *inside, ("to_img.0", "", "conv")]


def make_rank_map(blocks: int = 8, rank: Callable[[int], int] = lambda number: number % 5) -> RankMap:
    sites = tuple(
        SiteRank(name=name, block=block, kind=kind, shape=(4, 4), score=1.0, rank=rank(n), params=8 * rank(n))
        for n, (name, block, kind) in enumerate(names_of(blocks))
    )
    return RankMap(
        backbone=BACKBONE,
        provenance=PROVENANCE,
        strategy="greedy",
        budget_params=20_000,
        total_params=sum(site.params for site in sites),
        min_rank=0,
        max_rank=4,
        sites=sites,
    )


def make_saliency(
    blocks: int = 8, score: Callable[[int], float] = lambda n: 10.0 ** -(n % 4), spearman: float | None = 0.9
) -> Saliency:
    return Saliency(
        backbone=BACKBONE,
        provenance=PROVENANCE,
        criterion="gradient",
        batches=10,
        batch=4,
        patch_px=64,
        mean_loss=0.03,
        mean_spearman=spearman,
        sites=tuple(
            SiteSaliency(
                name=name,
                block=block,
                kind=kind,
                shape=(4, 4),
                params=16,
                rank_cost=8,
                max_rank=2,
                score=score(n),
                score_std=0.3 * score(n),
                spectrum=(),
            )
            for n, (name, block, kind) in enumerate(names_of(blocks))
        ),
        skipped=(),
    )


def make_rows(name: str = "photo", outputs: tuple[str, ...] = ("bicubic", "backbone", "merged")) -> list[ComparisonRow]:
    rng = np.random.default_rng(0)
    lr = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    hr = lr.repeat(4, axis=0).repeat(4, axis=1)
    images = {output: (hr // (place + 2)).astype(np.uint8) for place, output in enumerate(outputs)}
    scores = {output: {"psnr_y_db": 20.0 + place, "ssim_y": 0.8} for place, output in enumerate(outputs)}
    return [ComparisonRow(name, lr, hr, images, scores)]


LOG = [LogRow(iteration=0, val_psnr_y_db=26.0)] + [
    LogRow(iteration=n, loss=0.05 / n, learning_rate=1e-3, val_psnr_y_db=26.0 + n / 100 if n % 10 == 0 else None)
    for n in range(1, 41)
]

DRAWINGS: list[Callable[[Path], None]] = [
    lambda path: draw_rank_heatmap(path, make_rank_map()),
    lambda path: draw_saliency(path, make_saliency()),
    lambda path: draw_curves(path, LOG),
    lambda path: draw_comparison(path, make_rows(), *HOW),
]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_the_same_input_gives_the_same_bytes(draw: Callable[[Path], None], tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "savefig.dpi": 30}):
        draw(tmp_path / "b.png")
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert data == (tmp_path / "b.png").read_bytes()
    assert b"atplotlib" not in data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_the_users_matplotlib_is_left_alone(draw: Callable[[Path], None], tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    draw(tmp_path / "a.png")
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize("draw", DRAWINGS)
def test_a_place_that_cannot_be_written_is_a_plain_error(draw: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AdaptsrError, match="cannot write"):
        draw(tmp_path / "file" / "a.png")


def dark_pixels(path: Path) -> float:
    return float((read_rgb(path).mean(axis=2) < 90).mean())


def test_higher_ranks_are_darker(tmp_path: Path) -> None:
    draw_rank_heatmap(tmp_path / "low.png", make_rank_map(rank=lambda n: 8 if n == 0 else 1))
    draw_rank_heatmap(tmp_path / "high.png", make_rank_map(rank=lambda n: 1 if n == 0 else 8))
    assert dark_pixels(tmp_path / "high.png") > 2 * dark_pixels(tmp_path / "low.png")


def test_more_sites_take_more_room(tmp_path: Path) -> None:
    draw_rank_heatmap(tmp_path / "few.png", make_rank_map(4))
    draw_rank_heatmap(tmp_path / "many.png", make_rank_map(100))
    few, many = (read_rgb(tmp_path / name).shape for name in ("few.png", "many.png"))
    assert many[0] > few[0]
    assert many[1] > few[1]
    assert many[0] < 1600  # a hundred blocks are set in several columns


@pytest.mark.parametrize(
    "rank_map",
    [
        make_rank_map(rank=lambda n: 0),
        make_rank_map(0),
        make_rank_map(1),
        make_rank_map().model_copy(update={"sites": ()}),
    ],
)
def test_odd_rank_maps_are_drawn(rank_map: RankMap, tmp_path: Path) -> None:
    draw_rank_heatmap(tmp_path / "a.png", rank_map)
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "saliency",
    [
        make_saliency(score=lambda n: 0.0),
        make_saliency(score=lambda n: 1e-12 if n else 5.0),
        make_saliency(score=lambda n: 0.5, spearman=None),
        make_saliency(score=lambda n: 0.0 if n % 2 else 1.0),
        make_saliency(0),
        make_saliency(100),
    ],
)
def test_odd_saliencies_are_drawn(saliency: Saliency, tmp_path: Path) -> None:
    draw_saliency(tmp_path / "a.png", saliency)
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "log",
    [
        [],
        [LogRow(iteration=0, val_psnr_y_db=26.0)],
        [LogRow(iteration=1, loss=0.5, learning_rate=1e-3)],
        [LogRow(iteration=n, loss=0.5, learning_rate=0.0) for n in range(3)],
        [LogRow(iteration=n, loss=0.0) for n in range(3)],
    ],
)
def test_short_logs_are_drawn(log: list[LogRow], tmp_path: Path) -> None:
    draw_curves(tmp_path / "a.png", log)
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_the_sheet_holds_the_pixels_one_to_one(tmp_path: Path) -> None:
    row = make_rows()[0]
    # one model, which marks every pixel of its output with a colour that nothing else on the page has
    marked = row.hr.copy()
    marked[:] = (255, 0, 255)
    draw_comparison(tmp_path / "a.png", [ComparisonRow("photo", row.lr, row.hr, {"merged": marked}, {})], *HOW)
    page = read_rgb(tmp_path / "a.png")
    rows, columns = np.nonzero((page == (255, 0, 255)).all(axis=2))
    assert len(rows) == 240 * 240
    assert math.isclose(rows.max() - rows.min(), 239)
    assert math.isclose(columns.max() - columns.min(), 239)


def test_every_model_and_image_gets_its_place(tmp_path: Path) -> None:
    draw_comparison(tmp_path / "one.png", make_rows(), *HOW)
    draw_comparison(tmp_path / "more.png", make_rows() * 2, *HOW)
    draw_comparison(tmp_path / "wide.png", make_rows(outputs=tuple("abcdef")), *HOW)
    one, more, wide = (read_rgb(tmp_path / f"{name}.png").shape for name in ("one", "more", "wide"))
    assert more[0] > one[0] + 240
    assert wide[1] > one[1] + 3 * 240


def test_errors_are_drawn_on_one_scale(tmp_path: Path) -> None:
    """What is off by the most of a whole sheet is darkest; the same error elsewhere has the same colour."""
    row = make_rows()[0]

    def off_by(level: int) -> np.ndarray:
        return np.where(row.hr < 128, row.hr + level, row.hr - level).astype(np.uint8)

    rows = [
        ComparisonRow("a", row.lr, row.hr, {"x": off_by(40), "y": row.hr.copy()}, {}),
        ComparisonRow("b", row.lr, row.hr, {"x": off_by(80), "y": off_by(40)}, {}),
    ]
    draw_comparison(tmp_path / "a.png", rows, "paper", lambda rgb: rgb[..., 0].astype(float))
    page = read_rgb(tmp_path / "a.png").reshape(-1, 3)
    colours, counts = np.unique(page, axis=0, return_counts=True)
    often = {tuple(map(int, colour)): int(count) for colour, count in zip(colours, counts, strict=True)}
    assert often[19, 47, 107] >= 240 * 240  # the last of the shades: an error of 80
    assert [count for colour, count in often.items() if count >= 2 * 240 * 240 and colour != (255, 255, 255)]


@pytest.mark.parametrize("name", ["写真_\U0001f4f7.png", "$\\alpha_x$ and $", "a\nb", "x" * 300, "bad\udcff"])
def test_odd_names_are_drawn_as_they_are(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_comparison(tmp_path / "a.png", make_rows(name, outputs=(name, "merged")), *HOW)
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_outputs_of_another_size_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    row = make_rows()[0]
    broken = ComparisonRow("photo", row.lr, row.hr, {"merged": row.lr}, {})
    with pytest.raises(ValueError, match="merged"):
        draw_comparison(tmp_path / "a.png", [broken], *HOW)
    assert not (tmp_path / "a.png").exists()


def test_pictures_need_no_pyplot() -> None:
    code = "import sys, adaptsr_cli.report.figures; print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_picture_of_a_search_is_drawn_the_same_every_time(tmp_path: Path) -> None:
    record = make_search()
    for name in ("a.png", "b.png"):
        draw_search(tmp_path / name, record)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    other = record.model_copy(update={"winner_place": 1})
    draw_search(tmp_path / "c.png", other)
    assert (read_rgb(tmp_path / "c.png") != read_rgb(tmp_path / "a.png")).any()
