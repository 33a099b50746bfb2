"""LoRA against full fine-tuning, kind of layer by kind of layer (AdaptSR, Table 4).

    python benchmarks/tables/table4_modules.py --data ntire2019/ --backbone DCTLSA_x4.pt --iterations 60

Rank 8 at every site of the kind, as in the paper, against all weights of those sites.
"""

from study import Row, draw_rows, read_setting, run_study

from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone

NAMES = {"conv": "Convs", "mlp": "MLPs", "attention": "MSAs", "linear": "other Linears"}
RANK = 8


def main() -> None:
    """Run the study."""
    setting = read_setting(__doc__, "table4", lr=None)
    backbone = load_backbone(setting.bench.backbone or default_model())
    kinds = {site.kind for site in find_sites(backbone.model, backbone.traits).sites}
    rows = [Row("backbone", {"method": "none"})]
    for kind, name in NAMES.items():
        if kind in kinds:
            rows.append(Row(f"{name}, full", {"method": "full", "modules": kind, "rank": RANK}))
            rows.append(Row(f"{name}, LoRA r = {RANK}", {"modules": kind, "rank": RANK}))
    report = run_study(setting, "Kinds of layers, LoRA and full fine-tuning (Table 4)", rows)
    draw_rows(setting, report)


if __name__ == "__main__":
    main()
