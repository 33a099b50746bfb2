"""Options of a network alone."""

from __future__ import annotations

from adaptsr_cli.options import OptionsModel
from adaptsr_cli.stages.common import fields as f


class NetworkOptions(OptionsModel):
    """Which network to load."""

    model: f.Model = None
    model_options: f.ModelChoices = ()
    weights_dir: f.WeightsDir = None
    offline: f.Offline = False
