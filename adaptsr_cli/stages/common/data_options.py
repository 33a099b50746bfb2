"""The options of the stages that look at training images: score, train and adapt. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from adaptsr_cli.data.sources import DataSpec, choose_data
from adaptsr_cli.options import OptionsModel
from adaptsr_cli.stages.common import fields as f
from adaptsr_cli.stages.common.run_folder import RunFolder

Model = TypeVar("Model", bound=BaseModel)

# Ways to name the images, of which only one can be meant.
_IMAGES: Final = ("data", "lr_dir", "hr_dir", "list_file")


class DataOptions(OptionsModel):
    """Which images and which network, and what they are computed with."""

    data: f.Data = ()
    lr_dir: f.LrDir = None
    hr_dir: f.HrDir = None
    list_file: f.ListFile = None
    align: f.AlignOption = "none"
    run: f.Run = f.DEFAULT_RUN
    model: f.Model = None
    model_options: f.ModelChoices = ()
    val: f.Val = None
    test: f.Test = None
    degrade: f.Degrade = None
    cache_ram: f.CacheRam = None
    weights_dir: f.WeightsDir = None
    offline: f.Offline = False
    device: f.Device = "auto"
    precision: f.PrecisionChoice = "auto"
    seed: f.Seed = 0
    force: f.Force = False

    @classmethod
    def layer(cls, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        """What `above` says, and elsewhere what `below` says; images are named in one way only."""
        if any(name in above for name in _IMAGES):
            below = {name: value for name, value in below.items() if name not in _IMAGES}
        return super().layer(below, above)

    @property
    def run_folder(self) -> RunFolder:
        """The run folder."""
        return RunFolder(self.run)

    @property
    def images(self) -> DataSpec:
        """The images that are meant.

        Raises:
            UsageError: None are named, or in two ways at once.
        """
        return choose_data(self.data, self.hr_dir, self.lr_dir, self.list_file, self.align, self.run)


def pick(kind: type[Model], options: BaseModel, **changes: Any) -> Model:
    """Options of another stage: what `options` says for all fields that both have, with changes.

    Args:
        kind: The model to make.
        options: Where the values come from; fields that nobody gave are left to the defaults of `kind`.
        changes: Values of further fields.
    """
    shared = options.model_fields_set & kind.model_fields.keys()
    return kind(**({name: getattr(options, name) for name in shared} | changes))
