"""Iterations against PSNR, LoRA and full fine-tuning (AdaptSR, Figure 6).

    python benchmarks/tables/figure6_iterations.py --data iphone/ --iterations 1000 --seeds 2

The rate falls by steps as in the paper, so that every point of a curve is a point of the same training.
"""

import numpy as np
from matplotlib.axes import Axes
from study import Row, draw, read_setting, run_study

CHECKS = 10
COLOURS = ("#0072b2", "#56b4e9", "#d55e00")


def main() -> None:
    """Run the study."""
    setting = read_setting(__doc__, "figure6", lr=None)
    common = {"checks": CHECKS, "extra": (("schedule", "steps"),)}
    rows = [
        Row("LoRA, uniform", {"strategy": "uniform", **common}),
        Row("LoRA, rank-aware (greedy)", common),
        Row("full fine-tuning of the sites", {"method": "full", **common}),
    ]
    report = run_study(setting, "Iterations against PSNR-Y (Figure 6)", rows)

    def paint(axes: Axes) -> None:
        for row, colour in zip(report["rows"], COLOURS, strict=True):
            curves = np.array(row["curves"])  # (seeds, checks + 1, 2)
            axes.plot(curves[0, :, 0], curves[:, :, 1].mean(axis=0), color=colour, label=row["name"])
        axes.set_xlabel("iterations")
        axes.set_ylabel("held-out PSNR-Y (dB)")
        axes.legend(frameon=False, fontsize=8)
        axes.set_title(f"{report['backbone']} on {report['data']}, {report['seeds']} seed(s)", fontsize=10)

    draw(setting, paint)


if __name__ == "__main__":
    main()
