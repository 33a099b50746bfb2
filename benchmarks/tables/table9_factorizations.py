"""Which factorisation of a convolution's update? (AdaptSR, Table 9)

    python benchmarks/tables/table9_factorizations.py --data iphone/ --seeds 3

The same budget for each, over the convolutions alone.
"""

from study import Row, draw_rows, read_setting, run_study

FACTORIZATIONS = ("1x1-kxk", "kxk-1x1", "single")


def main() -> None:
    """Run the study."""
    setting = read_setting(__doc__, "table9")
    rows = [
        Row(name, {"strategy": "uniform", "modules": "conv", "extra": (("conv_factorization", name),)})
        for name in FACTORIZATIONS
    ]
    report = run_study(setting, "Factorisations of the convolutions (Table 9)", rows, against=FACTORIZATIONS[0])
    draw_rows(setting, report)


if __name__ == "__main__":
    main()
