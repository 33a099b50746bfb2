"""Where should the ranks go, and where should A start? (AdaptSR, Table 12, and beyond)

    python benchmarks/tables/allocation.py --data iphone/ --seeds 5

Uniform, greedy (the paper's), proportional and spectral at the same budget, each with the default and the gradient
start, and the last of them in fewer iterations; tested against uniform with the default start.
"""

from study import Row, draw_rows, read_setting, run_study


def main() -> None:
    """Run the study."""
    setting = read_setting(__doc__, "allocation")
    rows = [Row("backbone", {"method": "none"})]
    for init in ("default", "gradient"):
        ending = "" if init == "default" else ", gradient start"
        for strategy in ("uniform", "greedy", "proportional", "spectral"):
            rows.append(Row(f"{strategy}{ending}", {"strategy": strategy, "init": init}))
    best = {"strategy": "spectral", "init": "gradient"}
    for part, name in ((2, "half"), (4, "a quarter of")):
        changes = best | {"iterations": setting.base.iterations // part}
        rows.append(Row(f"spectral, gradient start, {name} the iterations", changes))
    report = run_study(setting, "Allocation strategies and starts at one budget", rows, against="uniform")
    draw_rows(setting, report)


if __name__ == "__main__":
    main()
