"""Stage ``pair`` from files to a folder of pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from networks import save_tiny
from PIL import Image
from readers import png_16_bit, read_png
from stages.pair_files import save, save_shot, shot

from adaptsr_cli.artifacts.pairs import PairsRecord
from adaptsr_cli.artifacts.run import RunRecord
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.layouts import find_pairs
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.errors import CheckpointError, OutputExistsError, UsageError
from adaptsr_cli.io.artifacts import parse_artifact
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.common.splitting import keep_roles
from adaptsr_cli.stages.common.training_data import open_training_data
from adaptsr_cli.stages.info.describe import describe
from adaptsr_cli.stages.pair import shot as making
from adaptsr_cli.stages.pair.options import PairOptions
from adaptsr_cli.stages.pair.stage import PairResult, require_pairs, run_pair

pytest.importorskip("cv2", reason="OpenCV is not installed (extra pair)")


def make(folder: Path, *places: Path, progress: Silent | None = None, **given: object) -> PairResult:
    options = PairOptions(photos=places, output=folder / "mine", **{"scale": 2, "block": 48, **given})
    return run_pair(options, progress=progress or Silent())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PairResult:
    folder = tmp_path_factory.mktemp("made")
    return make(folder, *save_shot(folder))


def test_the_folder_is_data_for_every_other_command(made: PairResult) -> None:
    pairs = find_pairs(made.output, role="train", scale=2)
    assert len(pairs) == made.pairs > 5
    assert pairs.ratio == 2
    for pair in pairs.pairs:
        assert pair.lr is not None
        assert read_png(pair.lr.read_bytes()).shape == (48, 48, 3)
        assert read_png(pair.hr.read_bytes()).shape == (96, 96, 3)
    assert pairs.describe() == f"pairs made by adaptsr pair, x2, {made.pairs} pairs of 1 shot"
    assert pairs.describe() == made.record.describe()


def test_the_scale_is_that_of_the_network_that_is_named(tmp_path: Path) -> None:
    save_tiny("edsr_basicsr", tmp_path / "net.safetensors")
    run = tmp_path / "run"  # of another network
    identity = load_backbone(tmp_path / "net.safetensors").identity.model_copy(update={"scale": 2})
    write_document(run / "run.json", RunRecord(backbone=identity, model_path="other.safetensors"))
    (run / "saliency.json").touch()
    made = make(tmp_path, *save_shot(tmp_path), scale=None, model=str(tmp_path / "net.safetensors"), run=run)
    assert made.record.scale == 4
    assert make(tmp_path / "c", *save_shot(tmp_path), scale=None, run=run).record.scale == 2
    with pytest.raises(UsageError, match=r"nothere\.pth"):
        make(tmp_path / "b", *save_shot(tmp_path), scale=None, model="nothere.pth")
    (tmp_path / "damaged.pth").write_bytes(b"PK")
    with pytest.raises(CheckpointError) as caught:
        make(tmp_path / "b", *save_shot(tmp_path), scale=None, model=str(tmp_path / "damaged.pth"))
    assert "`scale`" in caught.value.hint


def test_blocks_are_held_out_by_place_and_their_neighbours_are_scored_by_nobody(made: PairResult) -> None:
    progress = Silent()
    choice = DataSpec.of(made.output)
    data = open_training_data(choice, None, 0, progress)
    assert any(note.startswith("held out for validation by place") for note in progress.notes)
    sides = (data.train, data.held_out, data.test, data.unused)
    parts = [{pair.name for pairs in part for pair in pairs.pairs} for part in sides]
    assert all(parts)
    assert sum(map(len, parts)) == made.pairs
    scored = keep_roles(find_pairs(made.output, role="test"), data.record(choice), ("validation", None))
    assert {pair.name for pair in scored.pairs} == parts[1]


def test_info_describes_the_record(made: PairResult) -> None:
    text = (made.output / "pairs.json").read_text(encoding="utf-8")
    facts = describe(parse_artifact(text, "pairs.json"))
    assert facts["pairs"] == made.record.describe()
    assert facts["sizes"] == "LR 48 px, HR 96 px"
    assert "blocks kept" in facts["shot wide_tele"]


def test_lr_files_are_the_wide_photograph_s_own_pixels(made: PairResult) -> None:
    wide = shot().wide
    for block in made.record.shots[0].blocks:
        if block.name is not None:
            found = read_png((made.output / "lr" / f"{block.name}.png").read_bytes())
            assert np.array_equal(found, wide[block.top : block.top + 48, block.left : block.left + 48])


def test_the_record_tells_where_all_comes_from(made: PairResult) -> None:
    record = read_document(made.output / "pairs.json", PairsRecord)
    assert record == made.record
    found = record.shots[0]
    assert found.mapping is not None
    assert found.residual is not None
    assert found.photometry is not None
    assert found.mapping.zoom == pytest.approx(2.1, abs=0.05)
    assert found.residual.kept_px[1] < 0.2
    assert found.photometry.applied
    assert len(found.wide.sha256) == 64
    assert {block.reason for block in found.blocks if block.name is None} - {None}
    json.dumps(made.to_json())


def test_the_same_command_makes_nothing_again(made: PairResult, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.output.rglob("*.png")}
    folder = made.output.parent
    again = make(folder, folder / "wide.png", folder / "tele.png")
    assert again.made == ()
    assert {path: path.stat().st_mtime_ns for path in made.output.rglob("*.png")} == before
    with pytest.raises(OutputExistsError, match="made otherwise: x2"):
        make(folder, folder / "wide.png", folder / "tele.png", scale=3)


def test_an_interruption_leaves_no_half_pair_and_the_next_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "shots.txt"
    for seed in (1, 2):
        save_shot(tmp_path / str(seed), seed)
    table.write_text("# two shots\n1/wide.png, 1/tele.png\n2/wide.png\t2/tele.png\n")
    written = 0
    whole = making.write_picture

    def stop(*given: object, **named: object) -> None:
        nonlocal written
        written += 1
        if written == 61:
            raise KeyboardInterrupt
        whole(*given, **named)

    monkeypatch.setattr(making, "write_picture", stop)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, list_file=table)
    monkeypatch.setattr(making, "write_picture", whole)
    left = [sorted(path.name for path in (tmp_path / "mine" / side).glob("*")) for side in ("lr", "hr")]
    assert left[0] == left[1]
    first = read_document(tmp_path / "mine" / "pairs.json", PairsRecord).shots
    assert len(left[0]) == sum(found.kept for found in first)
    result = make(tmp_path, list_file=table)
    assert len(result.record.shots) == 2
    assert len(result.made) == 2 - len(first)
    assert not list((tmp_path / "mine").glob(".partial*"))


def test_what_a_killed_process_left_is_cleared_away(made: PairResult) -> None:
    folder = made.output.parent
    (made.output / ".partial-shot-gone").mkdir()
    for side in ("lr", "hr"):
        (made.output / side / "gone_b000.png").write_bytes(b"half")
    make(folder, folder / "wide.png", folder / "tele.png")
    assert not (made.output / ".partial-shot-gone").exists()
    assert not (made.output / "hr" / "gone_b000.png").exists()
    assert len(list((made.output / "lr").iterdir())) == made.pairs


@pytest.mark.parametrize("side", ["lr", "HR", "GT", "LR_bicubic"])
def test_a_folder_of_other_images_is_left_alone(tmp_path: Path, side: str) -> None:
    (tmp_path / "mine" / "empty_hr").mkdir(parents=True)
    save(tmp_path / "mine" / side / "own.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(OutputExistsError, match=f"mine/{side} holds files that adaptsr pair did not make"):
        make(tmp_path, *save_shot(tmp_path))


def test_the_wrong_order_is_put_right_and_told(tmp_path: Path) -> None:
    wide, tele = save_shot(tmp_path)
    progress = Silent()
    result = make(tmp_path, tele, wide, progress=progress)
    assert any("wrong order: wide.png is the wide photograph" in note for note in progress.notes)
    assert result.record.shots[0].wide.file == "wide.png"
    assert result.pairs > 5


def test_a_refused_shot_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    wide, _ = save_shot(tmp_path)
    progress = Silent()
    result = make(tmp_path, wide, save(tmp_path / "copy.png", shot().wide), progress=progress)
    assert result.pairs == 0
    assert "the same photograph" in result.record.shots[0].verdict
    assert any("refused" in warning for warning in progress.warnings)
    assert not list(result.output.rglob("*_b*.png"))
    assert b"refused" in result.page.read_bytes()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_phone_held_otherwise(tmp_path: Path, orientation: int, made: PairResult) -> None:
    tele = save(tmp_path / "tele.jpg", shot().tele, orientation=orientation)
    result = make(tmp_path, save_shot(tmp_path)[0], tele)
    mapping, plain = result.record.shots[0].mapping, made.record.shots[0].mapping
    assert mapping is not None
    assert plain is not None
    assert mapping.rotation_deg == pytest.approx(plain.rotation_deg, abs=0.02)  # as it is displayed
    assert result.pairs > 5


def test_eight_bits_against_sixteen(tmp_path: Path) -> None:
    wide, _ = save_shot(tmp_path)
    deep = tmp_path / "deep.png"
    deep.write_bytes(png_16_bit(shot().tele.astype(np.uint16) * 257, 2))
    progress = Silent()
    result = make(tmp_path, wide, deep, progress=progress)
    assert any("8 bits a channel and deep.png 16" in note for note in progress.notes)
    name = next(block.name for block in result.record.shots[0].blocks if block.name)
    low, high = (read_png((result.output / side / f"{name}.png").read_bytes()) for side in ("lr", "hr"))
    assert (low.dtype, high.dtype) == (np.uint8, np.uint16)


def test_grey_against_colour_is_refused_and_grey_against_grey_is_not(tmp_path: Path) -> None:
    wide, tele = save_shot(tmp_path)
    greys = [
        save(tmp_path / f"grey_{path.name}", np.array(Image.open(path).convert("L"))) for path in (wide, tele)
    ]  # fmt: skip
    refused = make(tmp_path, wide, greys[1])
    assert "grey_tele.png is black and white" in refused.record.shots[0].verdict
    both = make(tmp_path, *greys)
    assert both.pairs > 5
    name = (
        next(block.name for block in both.record.shots[-1].blocks if block.name)
        if both.record.shots[-1].accepted
        else (next(block.name for found in both.record.shots for block in found.blocks if block.name))
    )
    assert read_png((both.output / "hr" / f"{name}.png").read_bytes()).shape[2] == 1


def test_keeping_the_colour(tmp_path: Path, made: PairResult) -> None:
    result = make(tmp_path, *save_shot(tmp_path), keep_colour=True)
    name = next(block.name for block in result.record.shots[0].blocks if block.name)
    fitted, kept = (
        read_png((folder / "hr" / f"{name}.png").read_bytes()).astype(float) for folder in (made.output, result.output)
    )
    assert np.abs(fitted.mean((0, 1)) - kept.mean((0, 1))).max() > 2
    assert result.record.shots[0].photometry is not None
    assert not result.record.shots[0].photometry.applied


@pytest.mark.parametrize(
    ("otherwise", "told"),
    [
        ({"keep_colour": True}, "without `keep_colour`"),
        ({"scale": 3, "block": 96}, "x2, not x3, blocks of 48 px, not 96"),
    ],
)
def test_pairs_made_otherwise_are_told_by_what_differs(
    made: PairResult, otherwise: dict[str, object], told: str
) -> None:
    with pytest.raises(OutputExistsError) as caught:
        make(made.output.parent, *save_shot(made.output.parent), **otherwise)
    assert caught.value.message == f"{made.output} holds pairs made otherwise: {told}"


def test_a_crop_to_another_shape_is_told(tmp_path: Path) -> None:
    made_shot = shot()
    progress = Silent()
    tele = save(tmp_path / "tele.png", made_shot.tele[60:-60])
    result = make(tmp_path, save_shot(tmp_path / "x")[0], tele, progress=progress)
    assert any("differ in shape" in note for note in progress.notes)
    assert result.pairs > 3


def cut(path: Path, share: float = 0.5) -> Path:
    """The file without its end."""
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def test_a_file_that_is_no_photograph_is_told(tmp_path: Path) -> None:
    wide, _ = save_shot(tmp_path)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no photograph")
    progress = Silent()
    result = make(tmp_path, wide, bad, progress=progress)
    assert (result.pairs, result.record.shots) == (0, ())
    assert "bad.jpg" in result.unreadable["wide_bad"]
    assert any("wide_bad is refused: " in warning and "bad.jpg" in warning for warning in progress.warnings)
    assert result.page.is_file()
    assert require_pairs(result) == "none of 1 shot could be used"


def test_the_shots_beside_an_unreadable_one_go_on_and_it_is_tried_again(tmp_path: Path) -> None:
    table = tmp_path / "shots.txt"
    for seed in (1, 2, 3):
        save_shot(tmp_path / str(seed), seed)
    broken = cut(save(tmp_path / "2" / "tele.jpg", shot(2).tele))
    table.write_text("1/wide.png, 1/tele.png\n2/wide.png, 2/tele.jpg\n3/wide.png, 3/tele.png\n")
    progress = Silent()
    result = make(tmp_path, list_file=table, progress=progress)
    assert list(result.unreadable) == ["wide_tele_2"]
    assert sum("tele.jpg" in warning for warning in progress.warnings) == 1
    assert [found.name for found in result.record.shots if found.accepted] == ["wide_tele", "wide_tele_3"]
    assert result.page.is_file()
    assert require_pairs(result) is None
    assert json.loads(json.dumps(result.to_json()))["unreadable"] == result.unreadable
    save(broken, shot(2).tele)
    again = make(tmp_path, list_file=table)
    assert (again.made, again.unreadable) == (("wide_tele_2",), {})


@pytest.mark.parametrize("told", [True, False])
def test_a_broken_photograph_in_a_folder(tmp_path: Path, told: bool) -> None:
    exif = [{"taken": f"2026:05:01 12:00:0{n}", "focal_35_mm": mm} if told else {} for n, mm in enumerate((26, 52, 52))]
    photos = tmp_path / "shots"
    save(photos / "a_wide.png", shot().wide, **exif[0])
    cut(save(photos / "b_broken.png", shot().tele, **exif[2]))
    save(photos / "c_tele.png", shot().tele, **exif[1])
    progress = Silent()
    result = make(tmp_path, photos, progress=progress)
    assert result.pairs > 5
    assert sum("b_broken.png" in message for message in (*progress.warnings, *progress.notes)) == 1
    assert result.page.is_file()


def test_what_is_there_stays_where_its_photograph_cannot_be_read_any_more(tmp_path: Path) -> None:
    wide, tele = save_shot(tmp_path)
    before = make(tmp_path, wide, tele).pairs
    cut(tele)
    result = make(tmp_path, wide, tele, force=True)
    assert list(result.unreadable) == ["wide_tele"]
    assert result.pairs == before == len(list((result.output / "hr").iterdir()))


@pytest.mark.parametrize("line", ["only-one.png", "wide.png, missing.png", "a, b, c"])
def test_a_bad_line_of_the_table_is_named(tmp_path: Path, line: str) -> None:
    save_shot(tmp_path)
    table = tmp_path / "shots.txt"
    table.write_text(f"\n{line}\n")
    with pytest.raises(UsageError, match="line 2"):
        make(tmp_path, list_file=table)
