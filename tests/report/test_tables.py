"""Tables for papers: sorted, marked, and safe for what names may hold."""

from __future__ import annotations

import csv
import io
import json

import pytest

from adaptsr_cli.artifacts.base import Provenance
from adaptsr_cli.artifacts.evaluation import (
    Evaluation,
    ImageScores,
    ModelScores,
    PairedTest,
    ProtocolParameters,
    ScoreSpread,
)
from adaptsr_cli.report.tables import arrange, to_csv, to_latex, to_markdown

SCORES = {
    "backbone": {"psnr_y_db": 27.1, "lpips_alex": 0.31, "blur_px": 1.2},
    "merged": {"psnr_y_db": 28.4, "lpips_alex": 0.27051, "blur_px": 0.9},
    "their_net_x4": {"psnr_y_db": 27.9, "lpips_alex": 0.2201, "blur_px": 0.5},
}


def make_evaluation(scores: dict[str, dict[str, float]] = SCORES, data: str = "Set5") -> Evaluation:
    def spread(value: float) -> ScoreSpread:
        return ScoreSpread(images=2, std=0.5, ci95_low=value - 1, ci95_high=value + 1)

    first = next(iter(scores))
    return Evaluation(
        provenance=Provenance(tool_version="1", command="eval", options={}, seed=0, data_fingerprint="0"),
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
        versions={},
        scale=4,
        data=data,
        split="all",
        skipped_metrics={},
        models=tuple(
            ModelScores(
                name=name,
                source=f"{name}.pth",
                sha256=None,
                metrics=metrics,
                spread={key: spread(value) for key, value in metrics.items()},
            )
            for name, metrics in scores.items()
        ),
        comparisons=tuple(
            PairedTest(
                model=name,
                against=first,
                metric=key,
                mean_difference=value - scores[first][key],
                ci95_low=0.1,
                ci95_high=0.2,
                p_value=0.03,
                larger=2,
                smaller=0,
            )
            for name, metrics in list(scores.items())[1:]
            for key, value in metrics.items()
        ),
        images=tuple(
            ImageScores(name=str(n), width_px=96, height_px=96, file_sha256={}, models=scores) for n in range(2)
        ),
    )


def test_rows_are_sorted_by_the_first_metric_and_places_are_by_column() -> None:
    keys, rows = arrange(make_evaluation())
    assert keys == ("psnr_y_db", "lpips_alex", "blur_px")
    assert [row.model.name for row in rows] == ["merged", "their_net_x4", "backbone"]
    assert [[cell.place for cell in row.cells] for row in rows] == [[1, 2, 0], [2, 1, 0], [3, 3, 0]]
    distances = {name: {"dists": scores["lpips_alex"]} for name, scores in SCORES.items()}
    assert [row.model.name for row in arrange(make_evaluation(distances))[1]] == ["their_net_x4", "merged", "backbone"]


def test_one_model_is_not_the_best_of_one() -> None:
    _, (row,) = arrange(make_evaluation({"backbone": SCORES["backbone"]}))
    assert {cell.place for cell in row.cells} == {0}


def test_of_two_models_only_the_best_is_marked() -> None:
    _, rows = arrange(make_evaluation({name: SCORES[name] for name in ("backbone", "merged")}))
    assert [[cell.place for cell in row.cells] for row in rows] == [[1, 1, 0], [0, 0, 0]]


def test_markdown() -> None:
    assert to_markdown(make_evaluation()) == (
        "| model | PSNR-Y (dB) ↑ | LPIPS (alex) ↓ | blur (px) |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| merged | **28.40** | <u>0.2705</u> | 0.90 |\n"
        "| their\\_net\\_x4 | <u>27.90</u> | **0.2201** | 0.50 |\n"
        "| backbone | 27.10 | 0.3100 | 1.20 |\n"
        "\n"
        "x4, 2 images of Set5; protocol paper: all of it.\n"
    )


def test_latex() -> None:
    assert (
        to_latex(make_evaluation())
        == r"""\begin{table}
  \centering
  \caption{x4, 2 images of Set5; protocol paper: all of it.}
  \begin{tabular}{lrrr}
    \toprule
    Model & PSNR-Y (dB) $\uparrow$ & LPIPS (alex) $\downarrow$ & blur (px) \\
    \midrule
    merged & \textbf{28.40} & \underline{0.2705} & 0.90 \\
    their\_net\_x4 & \underline{27.90} & \textbf{0.2201} & 0.50 \\
    backbone & 27.10 & 0.3100 & 1.20 \\
    \bottomrule
  \end{tabular}
\end{table}
"""
    )


def test_csv_has_every_figure_in_full() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(make_evaluation()))))
    assert [row["model"] for row in rows] == ["merged", "their_net_x4", "backbone"]
    assert rows[0]["lpips_alex"] == "0.27051"
    assert (rows[0]["psnr_y_db_std"], rows[0]["psnr_y_db_ci95_low"]) == ("0.5", "27.4")
    assert (rows[0]["psnr_y_db_p_value"], rows[2]["psnr_y_db_p_value"]) == ("0.03", "")
    assert (rows[0]["protocol"], rows[0]["images"]) == ("paper", "2")


@pytest.mark.parametrize("name", ["a|b", "<b>x</b>", "50%_of#{it}", "back\\slash", 'quote",comma', "**bold**", "ΔE"])
def test_names_are_shown_letter_by_letter(name: str) -> None:
    evaluation = make_evaluation({name: {"psnr_y_db": 1.0}, "other": {"psnr_y_db": 2.0}}, data=name)
    assert list(csv.reader(io.StringIO(to_csv(evaluation))))[2][0] == name
    row = to_markdown(evaluation).splitlines()[3]
    assert row.replace("\\|", "").count("|") == 3
    assert "<b>" not in row
    latex = to_latex(evaluation)
    for character in "%#_{}":
        assert latex.count(f"\\{character}") >= name.count(character)
    assert json.loads(evaluation.model_dump_json())["data"] == name
