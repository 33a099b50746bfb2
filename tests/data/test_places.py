from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest
from data.test_pairs import noise
from report.pair_pages import make_record, make_shot_record

from adaptsr_cli.artifacts.pairs import PairsRecord, ShotRecord
from adaptsr_cli.data.layouts import find_pairs, fit_scale
from adaptsr_cli.data.places import find_record, locate_blocks
from adaptsr_cli.errors import ArtifactError, DataError
from adaptsr_cli.io.documents import write_document
from adaptsr_cli.io.images import write_rgb


def shot_of(name: str, wide: str, tele: str, reduction: float = 1.0) -> ShotRecord:
    """A shot of photographs that are told apart by one character."""
    shot = make_shot_record(name)
    assert shot.mapping is not None
    return shot.model_copy(
        update={
            "wide": shot.wide.model_copy(update={"sha256": wide * 64}),
            "tele": shot.tele.model_copy(update={"sha256": tele * 64}),
            "mapping": shot.mapping.model_copy(update={"reduction": reduction}),
        }
    )


def write_folder(root: Path, *shots: ShotRecord) -> PairsRecord:
    record = make_record(*shots)
    for shot in record.shots:
        for block in shot.blocks:
            if block.name is not None:
                lr_px = record.block_px
                write_rgb(root / "lr" / f"{block.name}.png", noise(lr_px, lr_px))
                write_rgb(root / "hr" / f"{block.name}.png", noise(record.scale * lr_px, record.scale * lr_px))
    write_document(root / "pairs.json", record)
    return record


@pytest.mark.parametrize("below", [".", "lr"])
def test_a_folder_of_adaptsr_pair_is_named_as_its_record_names_it(tmp_path: Path, below: str) -> None:
    record = write_folder(tmp_path, make_shot_record("a"), shot_of("b", "1", "2"))
    pairs = find_pairs(tmp_path / below, role="train", scale=record.scale)
    assert pairs.describe() == record.describe()
    assert fit_scale(pairs, record.scale).describe().endswith("4 pairs of 2 shots")
    assert all(pair.place is not None for pair in pairs.pairs)
    assert pairs.notes == ()


def test_a_folder_that_another_system_copied_is_known_by_its_record(tmp_path: Path) -> None:
    record = write_folder(tmp_path, make_shot_record(normalize("NFC", "café")))
    for path in sorted(tmp_path.glob("?r/*.png")):
        path.rename(path.with_name(normalize("NFD", path.name)))
    pairs = find_pairs(tmp_path, role="train", scale=record.scale)
    assert pairs.pairs
    assert all(pair.place is not None for pair in pairs.pairs)
    write_document(tmp_path / "pairs.json", make_record(make_shot_record(normalize("NFD", "café"))))
    assert len(find_pairs(tmp_path, role="train", scale=record.scale)) == len(pairs)


def test_another_scale_is_told_in_one_line(tmp_path: Path) -> None:
    record = write_folder(tmp_path, make_shot_record("a"))
    pairs = find_pairs(tmp_path, role="train", scale=record.scale + 1)
    with pytest.raises(DataError, match=f"HR is {record.scale} times LR, but the network enlarges 3 times") as caught:
        fit_scale(pairs, record.scale + 1)
    assert "make pairs by adaptsr pair --scale 3" in str(caught.value.hint)


def test_pairs_that_are_not_on_record_are_left_out(tmp_path: Path) -> None:
    record = write_folder(tmp_path, make_shot_record("a"))
    for side, factor in (("lr", 1), ("hr", record.scale)):
        write_rgb(tmp_path / side / "own.png", noise(48 * factor, 48 * factor))
    pairs = find_pairs(tmp_path, role="train")
    assert "own" not in {pair.name for pair in pairs.pairs}
    assert pairs.notes == ("1 pair that pairs.json does not name not used: own",)
    write_document(tmp_path / "pairs.json", make_record())
    with pytest.raises(DataError, match="names none of the pairs"):
        find_pairs(tmp_path, role="train")


@pytest.mark.parametrize("text", ["[1, 2]", '{"a": 1}\n{"a": 2}', '{"artifact": "cat"}', ""])
def test_another_file_of_that_name_means_nothing(tmp_path: Path, text: str) -> None:
    write_folder(tmp_path, make_shot_record("a"))
    (tmp_path / "pairs.json").write_text(text)
    assert find_record(tmp_path) is None
    assert find_pairs(tmp_path, role="train").layout == "LR and HR folders, x2"


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    write_folder(tmp_path, make_shot_record("a"))
    (tmp_path / "pairs.json").write_text('{"artifact": "pairs", "format_version": 9}')
    with pytest.raises(ArtifactError, match=r"pairs\.json is not a valid"):
        find_pairs(tmp_path, role="train")


def test_places_are_in_pixels_of_the_wide_photograph() -> None:
    record = make_record(shot_of("a", "1", "2"), shot_of("b", "1", "3", reduction=2.0))
    places = locate_blocks(record)
    near, far = places["a_b000"], places["b_b000"]
    assert (near.left, near.top, near.side) == (160, 120, record.block_px)
    assert (far.left, far.top, far.side) == (320, 240, 2 * record.block_px)
    assert near.photograph == far.photograph
    assert near.gap(far) == far.gap(near) == 320 - 160 - record.block_px


def test_shots_that_share_a_photograph_are_one_scene() -> None:
    # c is the wide photograph of one shot and the tele photograph of another.
    shots = (shot_of("a", "1", "2"), shot_of("b", "c", "4"), shot_of("c", "2", "c"), shot_of("d", "5", "6"))
    scenes = {place.shot: place.scene for place in locate_blocks(make_record(*shots)).values()}
    assert scenes == {"a": "a", "b": "a", "c": "a", "d": "d"}
