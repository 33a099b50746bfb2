"""Every kind of image through ``upscale``, read back by readers that share no code with the writers.

The network repeats each pixel twice in both directions, so the right answer is known to the last level.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from picture_kinds import KINDS, Kind, by_pillow, eighth, pattern, pick, write_deep_png
from PIL import Image
from raw_files import write_dng
from readers import png_16_bit, png_chunk, read_samples

from adaptsr_cli.backbones.edsr import BasicsrEDSR
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.tensors import write_tensors
from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import UpscaleResult, run_upscale

SIZES = ((1, 1), (7, 5), (64, 64), (257, 129))
LARGE = (1023, 767)

# Of lossy files at the best quality: the mean and the largest error in levels.
TOLERANCES = {"jpg": (1.5, 12), "avif": (1.5, 12), "heic": (1.5, 14)}
EXTS = ("png", "jpg", "webp", "tif", "avif", "bmp", "heic", "jxl")

ONLY_READ = {"gif": "png"}
SAME = [
    (kind, size, ONLY_READ.get(kind.ext, kind.ext))
    for kind in KINDS
    for size in (*SIZES, *([LARGE] if kind.large else []))
]
OTHER = [
    (kind, (64, 64) if kind.bits == 16 else (7, 5), ext)
    for kind in KINDS
    for ext in EXTS
    if ext != ONLY_READ.get(kind.ext, kind.ext) and not (ext in {"jpg", "bmp"} and kind.channels in {2, 4})
]
CASES = SAME + OTHER


def name_of(kind: Kind, size: tuple[int, int]) -> str:
    return f"{kind.name}_{size[0]}x{size[1]}"


@pytest.fixture(scope="module")
def repeater(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genuine EDSR x2 of 1x1 convolutions that gives every pixel four times."""
    model = BasicsrEDSR(2, 3, 1, 1, 1.0)
    state = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    for channel in range(3):
        state["conv_first.weight"][channel, channel] = 1
        state["conv_last.weight"][channel, channel] = 1
        state["upsample.0.weight"][4 * channel : 4 * channel + 4, channel] = 1
    path = tmp_path_factory.mktemp("model") / "repeater.safetensors"
    write_tensors(path, state, {})
    return path


@pytest.fixture(scope="module")
def outputs(repeater: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, UpscaleResult]]:
    """The folders of inputs and of results, and a report for each type of result."""
    root = tmp_path_factory.mktemp("matrix")
    reports = {}
    for ext in EXTS:
        sources = []
        for kind, size, wanted in CASES:
            if wanted == ext:
                source = root / "in" / f"{name_of(kind, size)}.{kind.ext}"
                if not source.exists():
                    source.parent.mkdir(exist_ok=True)
                    kind.write(source, pattern(*size))
                sources.append(source)
        options = UpscaleOptions(
            run=root / "run",
            model=str(repeater),
            inputs=tuple(sources),
            output=root / ext,
            suffix="",
            ext=ext,
            quality=100,
            device="cpu",
        )
        reports[ext] = run_upscale(options)
    return root / "in", root, reports


def expected(kind: Kind, source: Path, size: tuple[int, int]) -> np.ndarray:
    """What the file shows, as Pillow understands it, and for 16 bits as it was made; each pixel four times."""
    if kind.ext in {"heic", "jxl"} or kind.name.startswith("avif-rgb10") or kind.name.startswith("tif-rgb-"):
        layers = pick(pattern(*size), kind.channels)
        layers = layers if kind.bits == 16 else eighth(layers)
    elif kind.bits == 16:
        layers = pick(pattern(*size), kind.channels)
    else:
        with Image.open(source) as image:
            layers = np.asarray(image.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[kind.channels]))
    layers = layers if layers.ndim == 3 else layers[..., None]
    return layers.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize(
    ("kind", "size", "ext"), CASES, ids=[f"{name_of(kind, size)}-{ext}" for kind, size, ext in CASES]
)
def test_result_is_right_to_the_last_level(
    kind: Kind, size: tuple[int, int], ext: str, outputs: tuple[Path, Path, dict[str, UpscaleResult]]
) -> None:
    inputs, root, reports = outputs
    source = inputs / f"{name_of(kind, size)}.{kind.ext}"
    assert [reason for failed, reason in reports[ext].failed if failed == source] == []
    wanted = expected(kind, source, size)
    result = read_samples(root / ext / f"{name_of(kind, size)}.{ext}")
    if kind.bits == 16 and ext not in {"png", "tif", "avif", "heic", "jxl"}:
        wanted = eighth(wanted)
    if wanted.shape[2] <= 2 and result.shape[2] >= 3:  # WebP and some readers know no grey
        assert ext in {"webp", "avif"} or (ext == "heic" and wanted.shape[2] == 2)
        wanted = np.concatenate([wanted[..., :1].repeat(3, axis=2), wanted[..., 1:]], axis=2)
    if wanted.shape[2] == 4 and result.shape[2] == 3:  # libwebp leaves out what is opaque everywhere
        assert ext == "webp"
        assert (wanted[..., 3] == 255).all()
        wanted = wanted[..., :3]
    assert result.dtype == wanted.dtype
    assert result.shape == wanted.shape
    difference = np.abs(result.astype(float) - wanted)
    if wanted.shape[2] in {2, 4}:
        difference[..., :-1] *= wanted[..., -1:] > 0  # colour that nobody sees is free
    mean, most = TOLERANCES.get(ext, (0, 0))
    if kind.bits == 16 and kind.ext in {"heic", "avif"}:
        mean, most = max(mean, 1.5), max(most, 12)  # they are not without loss themselves
    elif kind.ext == "heic":
        mean, most = 2 * max(mean, 1.5), 2 * max(most, 14)
    if result.dtype == np.uint16:
        mean, most = 257 * mean, 257 * most
    assert difference.mean() <= mean
    assert difference.max() <= most


def test_the_matrix_is_as_large_as_promised() -> None:
    assert len(CASES) >= 200
    assert {size for _, size, _ in CASES} == {*SIZES, LARGE}


@pytest.fixture
def run(repeater: Path, tmp_path: Path) -> Callable[..., tuple[UpscaleResult, Silent]]:
    """Upscales everything in ``in/`` to ``out/``."""

    def call(**options: object) -> tuple[UpscaleResult, Silent]:
        progress = Silent()
        settings = {"output": tmp_path / "out", "suffix": "", "quality": 100, "device": "cpu", **options}
        chosen = UpscaleOptions(
            run=tmp_path / "run",
            model=str(repeater),
            inputs=(tmp_path / "in",),
            **settings,  # type: ignore[arg-type]
        )
        return run_upscale(chosen, progress=progress), progress

    (tmp_path / "in").mkdir()
    return call


def test_every_page_and_every_frame_goes_through_the_network(
    run: Callable[..., tuple[UpscaleResult, Silent]], tmp_path: Path
) -> None:
    pages = [pick(pattern(9, 6), 3), pick(pattern(5, 8), 1)[..., 0]]
    with tifffile.TiffWriter(tmp_path / "in" / "pages.tif") as file:
        for page in pages:
            file.write(page, photometric="rgb" if page.ndim == 3 else "minisblack", metadata=None)
    frames = [eighth(np.roll(pattern(9, 6), shift, axis=1)) for shift in range(3)]
    images = [Image.fromarray(frame) for frame in frames]
    for name, options in (("moving.png", {"disposal": 1, "blend": 0}), ("moving.webp", {"lossless": True})):
        images[0].save(
            tmp_path / "in" / name, save_all=True, append_images=images[1:], duration=[10, 20, 30], loop=2, **options
        )
    report, _ = run()
    assert report.failed == ()
    with tifffile.TiffFile(tmp_path / "out" / "pages.tif") as file:
        for page, written in zip(pages, file.pages, strict=True):
            assert np.array_equal(written.asarray(), page.repeat(2, axis=0).repeat(2, axis=1))
    for name in ("moving.png", "moving.webp"):
        with Image.open(tmp_path / "out" / name) as image:
            assert (image.n_frames, image.info["loop"]) == (3, 2)
            for index, frame in enumerate(frames):
                image.seek(index)
                shown = np.asarray(image.convert("RGBA")).astype(int)
                wanted = frame.repeat(2, axis=0).repeat(2, axis=1)
                assert np.array_equal(shown[..., 3], wanted[..., 3])
                assert not ((shown != wanted).any(axis=2) & (wanted[..., 3] > 0)).any()
                assert image.info["duration"] == 10 * (index + 1)


def test_what_the_asked_type_cannot_hold_fails_alone_and_before_the_work(
    run: Callable[..., tuple[UpscaleResult, Silent]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_pillow("RGBA")(tmp_path / "in" / "clear.png", pattern(9, 6))
    by_pillow("RGB")(tmp_path / "in" / "plain.png", pattern(9, 6))
    tifffile.imwrite(tmp_path / "in" / "pages.tif", np.zeros((2, 6, 9, 3), np.uint8), photometric="rgb")
    sizes = []
    original = Upscaler.bands
    monkeypatch.setattr(
        Upscaler, "bands", lambda self, *args, **rest: (sizes.append(args[:2]), original(self, *args, **rest))[1]
    )
    report, _ = run(ext="jpg")
    assert sorted((path.name, "holds no" in reason) for path, reason in report.failed) == [
        ("clear.png", True),
        ("pages.tif", True),
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plain.jpg"]
    assert len(sizes) == 1


def test_the_loss_of_depth_is_said_once(run: Callable[..., tuple[UpscaleResult, Silent]], tmp_path: Path) -> None:
    for index in range(3):
        write_deep_png(3)(tmp_path / "in" / f"{index}.png", pattern(9, 6))
    report, progress = run(ext="webp")
    assert len(report.written) == 3
    assert len([line for line in progress.notes if "16 bits a channel are written as 8" in line]) == 1


@pytest.mark.parametrize(("outscale", "size"), [(3, (27, 18)), (2.5, (22, 15)), (8, (72, 48)), (0.5, (4, 3))])
@pytest.mark.parametrize("kind", [KINDS[1], KINDS[4], KINDS[9], KINDS[10]], ids=lambda kind: kind.name)
def test_any_factor_keeps_depth_and_channels(
    run: Callable[..., tuple[UpscaleResult, Silent]], tmp_path: Path, kind: Kind, outscale: float, size: tuple[int, int]
) -> None:
    kind.write(tmp_path / "in" / "a.png", pattern(9, 6))
    report, _ = run(outscale=outscale)
    assert report.failed == ()
    result = read_samples(tmp_path / "out" / "a.png")
    assert result.shape == (size[1], size[0], kind.channels)
    assert result.dtype == (np.uint16 if kind.bits == 16 else np.uint8)


def test_names_of_any_script_go_through(run: Callable[..., tuple[UpscaleResult, Silent]], tmp_path: Path) -> None:
    names = ["фото ü 写真", "a" * 251, "é" * 125, "100% [x] {y} #1"]
    for name in names:
        by_pillow("RGB")(tmp_path / "in" / f"{name}.png", pattern(9, 6))
    report, _ = run()
    assert report.failed == ()
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == sorted(names)


def test_a_raw_file_becomes_a_tiff_that_says_how_it_was_rendered(
    run: Callable[..., tuple[UpscaleResult, Silent]], tmp_path: Path
) -> None:
    write_dng(tmp_path / "in" / "a.dng", np.full((32, 48, 3), 0.2))
    (tmp_path / "in" / "b.tif").write_bytes((tmp_path / "in" / "a.dng").read_bytes())  # told by its content
    report, progress = run()
    assert [target.name for _, target in report.written] == ["a.tif", "b.tif"]
    assert any("camera raw, though its name ends in .tif" in note for note in progress.notes)
    plain = tifffile.imread(tmp_path / "out" / "a.tif")
    assert plain.shape == (64, 96, 3)
    assert plain.dtype == np.uint16
    report, _ = run()
    assert report.summary == "0 ok, 0 failed, 2 skipped"
    report, progress = run(raw_exposure=1)
    assert len(report.kept) == 2
    assert "of the raw file by camera white balance" in progress.warnings[0]
    run(raw_exposure=1, force=True)
    brighter = tifffile.imread(tmp_path / "out" / "a.tif")
    assert brighter[20:40].mean() > 1.2 * plain[20:40].mean()


def test_hdr_is_refused_before_the_network_runs(
    run: Callable[..., tuple[UpscaleResult, Silent]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = png_chunk(b"cICP", bytes((9, 16, 0, 1)))
    (tmp_path / "in" / "a.png").write_bytes(png_16_bit(pick(pattern(8, 8), 3), 2, chunk))
    monkeypatch.setattr("adaptsr_cli.stages.upscale.pipeline.upscale_picture", None)
    report, progress = run(ext="jpg")
    assert report.summary == "0 ok, 1 failed, 0 skipped"
    assert "HDR (PQ)" in progress.warnings[0]
