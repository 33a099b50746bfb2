"""Rank-aware LoRA against other parameter-efficient methods (AdaptSR, Table 3).

    python benchmarks/tables/table3_methods.py --data iphone/ --seeds 3

All methods are given the same budget; full fine-tuning, bitfit and DiffFit train what they are defined to train. Each
has the learning rate that `train` takes for it by default. Inference parameters are those of the backbone for every
row: every method here merges exactly, ARC and DiffFit too.
"""

from study import Row, draw_rows, read_setting, run_study


def main() -> None:
    """Run the study."""
    setting = read_setting(__doc__, "table3", lr=None)
    rows = [
        Row("backbone", {"method": "none"}),
        Row("full fine-tuning of the sites", {"method": "full"}),
        Row("ARC", {"method": "arc"}),
        Row("DiffFit", {"method": "difffit"}),
        Row("BitFit", {"method": "bitfit"}),
        Row("RaSA", {"method": "rasa"}),
        Row("DoRA", {"method": "dora"}),
        *(
            Row(f"SHiRA ({mask})", {"method": "shira", "extra": (("shira_mask", mask),)})
            for mask in ("magnitude", "snip", "random")
        ),
        Row("LoRA, uniform", {"strategy": "uniform"}),
        Row("LoRA, rank-aware (greedy)", {"strategy": "greedy"}),
        Row("LoRA, rank-aware (spectral)", {"strategy": "spectral"}),
    ]
    report = run_study(setting, "Methods (Table 3)", rows, against="LoRA, uniform")
    draw_rows(setting, report)


if __name__ == "__main__":
    main()
