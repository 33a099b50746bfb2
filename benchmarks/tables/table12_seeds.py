"""Is rank-aware better than uniform by more than chance? (AdaptSR, Table 12: five seeds, paired t-test)

python benchmarks/tables/table12_seeds.py --data iphone/ --seeds 5
"""

from study import Row, draw_rows, read_setting, run_study


def main() -> None:
    """Run the study."""
    setting = read_setting(__doc__, "table12", seeds=5)
    rows = [
        Row("uniform", {"strategy": "uniform"}),
        Row("rank-aware (greedy)", {"strategy": "greedy"}),
        Row("rank-aware (spectral)", {"strategy": "spectral"}),
    ]
    report = run_study(setting, "Rank-aware against uniform (Table 12)", rows, against="uniform")
    draw_rows(setting, report)


if __name__ == "__main__":
    main()
