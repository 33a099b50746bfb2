"""``eval.json`` as a typed artifact: scores, how they vary, and everything that they depend on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adaptsr_cli.artifacts.base import FORMAT_VERSION, Provenance, StrictModel
from adaptsr_cli.artifacts.files import FileAccount


class ProtocolParameters(StrictModel):
    """What the scores of an evaluation depend on besides the images.

    Attributes:
        reference: Whether outputs were compared with HR images.
        border_px: Width of the border that was left out, in HR pixels.
        lr_crop_px: Side of the centre crop of LR that the networks were given; None for whole images.
        channels: What PSNR and SSIM were computed on.
        luma: How Y was computed; None where it was not.
        output_type: What outputs were rounded to before they were scored.
        ssim_window_px: Taps of the Gaussian window of SSIM, each way.
        ssim_sigma_px: Its standard deviation.
        ssim_downsampling: Whether large images were made smaller first, as some programs do.
        average: How the scores of images became one.
    """

    reference: bool
    border_px: Annotated[int, Field(ge=0)]
    lr_crop_px: Annotated[int, Field(gt=0)] | None
    channels: tuple[Literal["y", "rgb"], ...]
    luma: Literal["bt601-16-235", "bt601-16-235-float32"] | None
    output_type: Literal["uint8"]
    ssim_window_px: Annotated[int, Field(gt=0)]
    ssim_sigma_px: Annotated[float, Field(gt=0)]
    ssim_downsampling: bool
    average: str


class ScoreSpread(StrictModel):
    """How far the scores of one model and metric vary over the images.

    Attributes:
        images: How many images the mean is over.
        std: Sample standard deviation (n - 1); None for one image.
        ci95_low: Lower end of the 95 % bootstrap interval of the mean; None for one image.
        ci95_high: Its upper end.
    """

    images: Annotated[int, Field(gt=0)]
    std: float | None
    ci95_low: float | None
    ci95_high: float | None


class PairedTest(StrictModel):
    """One model against the first one, image by image.

    Attributes:
        model: The later model.
        against: The first model.
        metric: Key of the metric.
        mean_difference: Mean of model minus first.
        ci95_low: Lower end of the 95 % bootstrap interval of that mean; None for one image.
        ci95_high: Its upper end.
        p_value: Two-sided, of `test`; None for one scene.
        larger: On how many images the model's score is larger.
        smaller: On how many it is smaller.
        test: What `p_value` is of: signs of the differences permuted by scene, or Wilcoxon's signed ranks, in files of
            older versions.
        scenes: How many scenes the images show, which alone are independent; None in files of older versions.
    """

    model: str
    against: str
    metric: str
    mean_difference: float
    ci95_low: float | None
    ci95_high: float | None
    p_value: Annotated[float, Field(ge=0, le=1)] | None
    larger: Annotated[int, Field(ge=0)]
    smaller: Annotated[int, Field(ge=0)]
    test: Literal["wilcoxon", "permutation"] = "wilcoxon"
    scenes: Annotated[int, Field(gt=0)] | None = None

    @property
    def least_p_value(self) -> float:
        """The smallest p-value that so many scenes can give, all differing one way; 0 where their number is unknown."""
        return 0.0 if self.scenes is None else min(1.0, 2.0 ** (1 - self.scenes))


class ModelScores(StrictModel):
    """The mean of per-image scores of one model.

    Attributes:
        name: As in tables.
        source: Where it came from.
        sha256: Of the weights; None for a folder of images.
        metrics: Metric -> mean.
        spread: Metric -> how the images vary.
    """

    name: str
    source: str
    sha256: str | None
    metrics: dict[str, float]
    spread: dict[str, ScoreSpread]


class ImageScores(StrictModel):
    """The scores of all models on one image; `models` keeps the order of `Evaluation.models`.

    Attributes:
        name: The image.
        width_px: Of the output, before the border is left out.
        height_px: The same.
        file_sha256: Role -> SHA-256 of the file: ``hr``, ``lr``, and the names of models that are folders of images.
        models: Model -> metric -> score.
        scene: One name for all images that show the same things; None where that is the image alone.
    """

    name: str
    width_px: int
    height_px: int
    file_sha256: dict[str, str]
    models: dict[str, dict[str, float]]
    scene: str | None = None


class LeftOutImage(StrictModel):
    """An image that has no scores.

    Attributes:
        name: The image.
        reason: What is wrong with it.
    """

    name: str
    reason: str


Seen = Literal["nothing", "validation", "training"]
"""What a run has seen of images: nothing at all; it chose the iteration by some; it was trained on some."""


class FoldScores(StrictModel):
    """The part of a cross-validation that one training was scored on.

    Attributes:
        fold: Its number, from 1.
        images: Names of the images that this training has never seen.
        metrics: Model -> metric -> mean over these images.
        best_iteration: Of the training that was scored.
        learning_rate: The same.
        method: The same.
    """

    fold: Annotated[int, Field(ge=1)]
    images: tuple[str, ...]
    metrics: dict[str, dict[str, float]]
    best_iteration: int
    learning_rate: float
    method: str


class ColourChartScores(StrictModel):
    """How networks take a chart of flat colours; see `adaptsr_cli.metrics.colour_chart`.

    Attributes:
        colours: How many the chart has.
        broken: Network -> how many of them do not come out as they went in.
    """

    colours: Annotated[int, Field(gt=0)]
    broken: dict[str, Annotated[int, Field(ge=0)]]


class DialPoint(StrictModel):
    """The scores of one setting of a run's dial between faithful and sharp.

    Attributes:
        metrics: Metric -> mean.
    """

    sharpness: Annotated[float, Field(ge=0, le=1)]
    metrics: dict[str, float]


class DialCurve(StrictModel):
    """The perception-distortion curve of a run that has a perceptual adapter (Blau and Michaeli 2018).

    Attributes:
        images: How many of the images it is over.
        backbone: Means of the backbone over the same images.
        points: From sharpness 0 up.
    """

    images: Annotated[int, Field(gt=0)]
    backbone: dict[str, float]
    points: Annotated[tuple[DialPoint, ...], Field(min_length=2)]

    @property
    def equal_psnr(self) -> float | None:
        """The largest sharpness at which PSNR-Y is not below the backbone's; see `keeping`."""
        return self.keeping(0.0)

    def keeping(self, share: float) -> float | None:
        """The largest sharpness at which a share of the gain in PSNR-Y is left, between two points by interpolation.

        Args:
            share: Of what sharpness 0 gains over the backbone.

        Returns:
            None where sharpness 0 gains nothing, or PSNR-Y is not known.
        """
        key = "psnr_y_db"
        if key not in self.backbone or any(key not in point.metrics for point in self.points):
            return None
        least_db = self.backbone[key] + share * max(0.0, self.points[0].metrics[key] - self.backbone[key])
        over = [point.metrics[key] - least_db for point in self.points]
        first_below = next((place for place, gain in enumerate(over) if gain < 0), None)
        if first_below is None:
            return self.points[-1].sharpness
        if first_below == 0:
            return None
        before, after = self.points[first_below - 1].sharpness, self.points[first_below].sharpness
        gain, loss = over[first_below - 1], over[first_below]
        return before + (after - before) * gain / (gain - loss)


class Evaluation(StrictModel):
    """``eval.json``: scores by a named protocol.

    Attributes:
        protocol: Its name.
        protocol_text: It in one line, for people.
        parameters: It in full.
        versions: Library -> version, of those that the scores may depend on.
        skipped_metrics: Metric -> why it was not computed.
        models: In the order in which they were named.
        comparisons: Every later model against the first one.
        images: The scores that the means are of.
        left_out: Images that could not be scored, and are in no mean.
        files: What became of every file of the data folders.
        dial: What the sharpness does, where the run's own models are scored and it has a perceptual adapter.
        folds: The parts of a cross-validation; empty for any other evaluation.
        split: Which images of the data: ``test``: those that the run has never seen; ``held-out``: those it was not
            trained on; ``all``; ``folds``: each image was scored by a training that has never seen it.
        seen: What the run whose models are scored has seen of the images; None where nobody knows.
        colour_chart: How the networks take colours that no image may show; None in files of older versions.
        simulated_lr: Whether the LR side was made by a degradation, so that the scores are not a camera's.
    """

    artifact: Literal["eval"] = "eval"
    format_version: Literal[1] = FORMAT_VERSION
    provenance: Provenance
    protocol: str
    protocol_text: str
    parameters: ProtocolParameters
    versions: dict[str, str]
    scale: Annotated[int, Field(ge=1)]
    data: str
    split: Literal["held-out", "test", "all", "folds"]
    seen: Seen | None = None
    colour_chart: Annotated[ColourChartScores | None, Field(exclude_if=lambda chart: chart is None)] = None
    simulated_lr: Annotated[bool, Field(exclude_if=lambda simulated: not simulated)] = False
    skipped_metrics: dict[str, str]
    models: tuple[ModelScores, ...]
    comparisons: tuple[PairedTest, ...]
    images: tuple[ImageScores, ...]
    left_out: tuple[LeftOutImage, ...] = ()
    files: tuple[FileAccount, ...] = ()
    # Left out where there is none, so that older versions can read the file.
    dial: Annotated[DialCurve | None, Field(exclude_if=lambda dial: dial is None)] = None
    folds: tuple[FoldScores, ...] = ()
