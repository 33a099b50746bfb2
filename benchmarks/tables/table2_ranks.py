"""How large should the ranks be? (AdaptSR, Table 2, and Figure 1's trainable parameters against PSNR)

    python benchmarks/tables/table2_ranks.py --data iphone/ --seeds 3

Uniform ranks 1, 4, 8, 16 and 64 (a site whose weight is smaller than that takes its largest rank), uniform and
rank-aware allocation (greedy, the paper's, and spectral) at ``--budget``, and full fine-tuning.
"""

from matplotlib.axes import Axes
from study import Row, draw, read_setting, run_study

RANKS = (1, 4, 8, 16, 64)


def main() -> None:
    """Run the study."""
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
        backbone, *rows = report["rows"]
        for number, row in enumerate(rows):
            axes.scatter(row["params"], row["psnr_y_db"], color="#d55e00" if "aware" in row["name"] else "#0072b2")
            # Rows of about the same size would be written over each other.
            before = sum(abs(other["params"] - row["params"]) < 0.02 * row["params"] for other in rows[:number])
            place = (row["params"], row["psnr_y_db"])
            axes.annotate(row["name"], place, (6, 4 - 11 * before), textcoords="offset points", fontsize=7)
        axes.axhline(backbone["psnr_y_db"], color="#59636e", linewidth=1)
        axes.annotate("backbone", (0.01, backbone["psnr_y_db"]), (0, 3), axes.get_yaxis_transform(), "offset points")
        axes.margins(x=0.2)
        axes.set_xscale("log")
        axes.set_xlabel("trainable parameters")
        axes.set_ylabel("held-out PSNR-Y (dB)")
        axes.set_title(f"{report['backbone']} on {report['data']}, {report['seeds']} seed(s)", fontsize=10)

    draw(setting, paint)


if __name__ == "__main__":
    main()
