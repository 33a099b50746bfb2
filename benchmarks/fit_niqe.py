"""Fits what NIQE compares pictures with, on a folder of undisturbed photographs of one's own.

    python benchmarks/fit_niqe.py DIR [--output niqe_parameters.npz]

The file has the layout of BasicSR's ``niqe_pris_params.npz``. The one that ships with the package,
``adaptsr_cli/metrics/niqe_parameters.npz``, was made by this script from the 400 photographs of the training and test
sets of BSDS500 (481x321 px JPEG): 36 means and a covariance, of which no photograph can be had back.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from adaptsr_cli.io.images import list_images, read_rgb
from adaptsr_cli.metrics.niqe import OWN_FILE, fit_natural_scenes


def main() -> None:
    """Fits and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=OWN_FILE)
    options = parser.parse_args()
    paths = list_images(options.folder)
    natural = fit_natural_scenes(read_rgb(path) for path in paths)
    np.savez(options.output, mu_pris_param=natural.mean[None], cov_pris_param=natural.covariance)
    print(f"{len(paths)} photographs -> {options.output} ({options.output.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
