"""By what should sites be ranked? (AdaptSR, Table 11)

    python benchmarks/tables/table11_criteria.py --data iphone/ --seeds 3

Greedy allocation (Algorithm 1) at one budget by every criterion, against uniform ranks.
"""

from typing import get_args

from study import Row, draw_rows, read_setting, run_study

from adaptsr_cli.artifacts.base import Criterion


def main() -> None:
    """Run the study."""
    setting = read_setting(__doc__, "table11")
    rows = [
        Row("uniform", {"strategy": "uniform"}),
        *(Row(name, {"criterion": name}) for name in get_args(Criterion)),
    ]
    report = run_study(setting, "Criteria of greedy allocation (Table 11)", rows, against="uniform")
    draw_rows(setting, report)


if __name__ == "__main__":
    main()
