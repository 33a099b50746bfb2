"""How large should the ranks be? (AdaptSR, Table 2, and Figure 1's trainable parameters against PSNR)

    python benchmarks/tables/table2_ranks.py --data iphone/ --seeds 3

Uniform ranks 1, 4, 8, 16 and 64 (a site whose weight is smaller than that takes its largest rank), uniform and
rank-aware allocation (greedy, the paper's, and spectral) at ``--budget``, and full fine-tuning.
"""

from matplotlib.axes import Axes
from study import Row, draw, read_setting, run_study

RANKS = (1, 4, 8, 16, 64)


def main() -> None:
    """Runs the study."""
    setting = read_setting(__doc__, "table2")
    share = setting.base.budget
    rows = [
        Row("backbone", {"method": "none"}),
        Row("full fine-tuning of the sites", {"method": "full", "lr": None, "rank": 64}),
        *(Row(f"uniform r = {rank}", {"rank": rank}) for rank in RANKS),
        Row(f"uniform, {share}", {"strategy": "uniform"}),
        Row(f"rank-aware (greedy), {share}", {}),
        Row(f"rank-aware (spectral), {share}", {"strategy": "spectral"}),
    ]
    report = run_study(setting, "Ranks (Table 2 and Figure 1)", rows, against=f"uniform, {share}")

    def paint(axes: Axes) -> None:
        for row in report["rows"][1:]:
            aware = "aware" in row["name"]
            axes.scatter(row["params"], row["psnr_y_db"], color="#d55e00" if aware else "#0072b2", zorder=3)
            axes.annotate(
                row["name"], (row["params"], row["psnr_y_db"]), (5, 4), textcoords="offset points", fontsize=7
            )
        axes.axhline(report["rows"][0]["psnr_y_db"], color="#59636e", linewidth=1)
        axes.annotate(
            "backbone",
            (axes.get_xlim()[0], report["rows"][0]["psnr_y_db"]),
            (4, 3),
            textcoords="offset points",
            fontsize=7,
        )
        axes.set_xscale("log")
        axes.set_xlabel("trainable parameters")
        axes.set_ylabel("held-out PSNR-Y (dB)")
        axes.set_title(f"{report['backbone']} on {report['data']}, {report['seeds']} seed(s)", fontsize=10)

    draw(setting, paint)


if __name__ == "__main__":
    main()
