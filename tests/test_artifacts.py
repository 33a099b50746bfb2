"""What the artifacts refuse beyond wrong types: contents that contradict themselves."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adaptsr_cli.artifacts.adapter import AdapterHeader, AdapterSite
from adaptsr_cli.artifacts.base import BackboneIdentity, Method, Provenance, StrictModel
from adaptsr_cli.artifacts.kinds import ARTIFACTS, KINDS, json_schemas
from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.artifacts.rank_map import RankMap, SiteRank
from adaptsr_cli.artifacts.saliency import Saliency, SiteSaliency
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.artifacts import parse_artifact
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.stages.info.describe import describe

ROOT = Path(__file__).resolve().parents[1]
BACKBONE = BackboneIdentity(architecture="SAFMN", scale=4, params=100, sha256="0" * 64, source="x.pth")
MADE = Provenance(tool_version="0", command="score", options={}, seed=0, data_fingerprint="0")


def saliency(*sites: dict[str, Any]) -> Saliency:
    site = {
        "name": "a", "block": "", "kind": "linear", "shape": (4, 8), "params": 32, "rank_cost": 12, "max_rank": 2,
        "score": 1.0, "score_std": 0.0, "spectrum": (),
    }  # fmt: skip
    return Saliency(
        backbone=BACKBONE, provenance=MADE, criterion="gradient", batches=1, batch=1, patch_px=8, mean_loss=0.1,
        mean_spearman=None, sites=tuple(SiteSaliency(**(site | changes)) for changes in sites), skipped=(),
    )  # fmt: skip


def rank_map(budget_params: int, total_params: int, *names: str) -> RankMap:
    sites = [SiteRank(name=name, block="", kind="linear", shape=(4, 8), score=1.0, rank=1, params=12) for name in names]
    return RankMap(
        backbone=BACKBONE, provenance=MADE, strategy="greedy", budget_params=budget_params, total_params=total_params,
        min_rank=0, max_rank=1, sites=tuple(sites),
    )  # fmt: skip


def adapter(*names: str) -> AdapterHeader:
    sites = tuple(AdapterSite(name=name, kind="linear", shape=(4, 8), rank=1, alpha=1.0) for name in names)
    return AdapterHeader(
        backbone=BACKBONE, provenance=MADE, method="lora", factorization="1x1-kxk", sites=sites, iteration=1,
        val_psnr_y_db=None, backbone_psnr_y_db=None,
    )  # fmt: skip


def test_contents_that_fit_together_are_taken() -> None:
    assert len(saliency({}, {"name": "b"}).sites) == 2
    assert len(rank_map(24, 24, "a", "b").sites) == 2
    assert len(adapter("a", "b").sites) == 2


def test_a_site_comes_once() -> None:
    with pytest.raises(ValidationError, match="a comes twice"):
        saliency({}, {})
    with pytest.raises(ValidationError, match="b comes twice"):
        rank_map(99, 36, "a", "b", "b")
    with pytest.raises(ValidationError, match="a comes twice"):
        adapter("a", "a")


@pytest.mark.parametrize("changes", [{"params": 31}, {"shape": (4, 9)}, {"rank_cost": 17}, {"max_rank": 3}])
def test_the_sizes_of_a_site_fit_together(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="do not fit together"):
        saliency(changes)


def test_a_rank_map_adds_up_within_its_budget() -> None:
    with pytest.raises(ValidationError, match="not the sum"):
        rank_map(99, 23, "a", "b")
    with pytest.raises(ValidationError, match="more than budget_params"):
        rank_map(23, 24, "a", "b")


def test_an_adapter_has_a_site() -> None:
    with pytest.raises(ValidationError, match="sites"):
        adapter()


def test_every_artifact_is_in_the_table() -> None:
    """Models that say what they are, and those alone, are found by that; each has a JSON schema."""
    named = {
        model.model_fields["artifact"].default: model
        for path in sorted((ROOT / "adaptsr_cli" / "artifacts").glob("*.py"))
        for model in vars(import_module(f"adaptsr_cli.artifacts.{path.stem}")).values()
        if isinstance(model, type) and issubclass(model, StrictModel) and "artifact" in model.model_fields
    }
    assert {name: kind.model for name, kind in KINDS.items()} == named
    assert len(KINDS) > 10
    schemas = json_schemas()
    assert schemas.keys() == {kind.file for kind in ARTIFACTS}
    assert all(schema["properties"] for schema in schemas.values())


def test_renamed_fields_are_read_by_their_old_names() -> None:
    text = adapter("a").model_dump_json()
    assert '"lora_scaling":"alpha/r"' in text
    old = text.replace('"lora_scaling":"alpha/r"', '"scale":"alpha/sqrt(r)"')
    assert parse_document(old, AdapterHeader, "old").lora_scaling == "alpha/sqrt(r)"
    assert LogRow.model_validate_json('{"iteration": 1, "lr": 0.5}').learning_rate == 0.5


def test_an_artifact_is_read_whatever_its_kind() -> None:
    found = saliency({})
    assert parse_artifact(found.model_dump_json(), "x.json") == found
    for text, said in (
        ("[]", "not an adaptsr artifact"),
        ('{"artifact": "cat"}', "not an adaptsr artifact"),
        ("{", "damaged"),
        ('{"artifact": "saliency"}', "format_version is missing"),
    ):
        with pytest.raises(ArtifactError, match=said):
            parse_artifact(text, "x.json")


@pytest.mark.parametrize(("method", "sites"), [("lora", "2: 2 x r1"), ("shira", "2"), ("full", "2")])
def test_ranks_are_told_where_the_method_has_them(method: Method, sites: str) -> None:
    assert describe(adapter("a", "b").model_copy(update={"method": method}))["sites"] == sites
