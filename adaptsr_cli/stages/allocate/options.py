"""Options of ``adaptsr allocate`` and ``adaptsr reallocate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, get_args

from pydantic import BeforeValidator, Field

from adaptsr_cli.artifacts.base import SiteKind, Strategy
from adaptsr_cli.errors import UsageError, nearest
from adaptsr_cli.options import Argument, Flag, OptionsModel
from adaptsr_cli.ranking.allocation import DEFAULT_STRATEGY
from adaptsr_cli.stages.common import fields as f
from adaptsr_cli.units import parse_budget

DEFAULT_BUDGET: Final = "8%"


def _read_kinds(value: Any) -> Any:
    """Read ``conv,attention,mlp``; a list becomes a tuple."""
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, list) else value
    known: tuple[SiteKind, ...] = get_args(SiteKind)
    words = [word.strip().lower() for word in value.split(",")]
    for word in words:
        if word not in known:
            hint = nearest(word, known) or f"choose from {', '.join(known)}"
            raise UsageError(f"`modules`: {word!r} is not a kind of site", hint)
    return tuple(dict.fromkeys(words))


def _check_budget(value: Any) -> Any:
    """Refuse what is not a number of parameters."""
    return parse_budget(str(value)).text if isinstance(value, str | int) and not isinstance(value, bool) else value


Modules = Annotated[
    tuple[SiteKind, ...] | None,
    BeforeValidator(_read_kinds),
    Field(description="Only these kinds of site may get ranks: conv,attention,mlp,linear."),
    Flag(metavar="KINDS", as_text=True),
]
BUDGET_HELP: Final = "Trainable parameters: 886k, 1.2M, 8%, 886000."
Budget = Annotated[str, BeforeValidator(_check_budget), Field(description=BUDGET_HELP)]


class AllocateOptions(OptionsModel):
    """How to spend a budget by the saliency."""

    budget: Budget = DEFAULT_BUDGET
    run: f.Run = f.DEFAULT_RUN
    saliency: Annotated[Path | None, Field(description="Saliency file. Left out: the run's.")] = None
    strategy: Annotated[
        Strategy,
        Field(
            description="spectral goes by what each rank gains, greedy (the paper's Algorithm 1) and proportional by "
            "the scores, uniform by neither."
        ),
    ] = DEFAULT_STRATEGY
    min_rank: Annotated[
        int | None,
        Field(ge=0, description="Smallest rank."),
        Flag(default_text="0 for spectral, else 1 where the budget covers it"),
    ] = None
    max_rank: Annotated[
        int | None,
        Field(ge=1, description="Largest rank."),
        Flag(default_text="twice the uniform rank for greedy, else what each site allows"),
    ] = None
    modules: Modules = None
    force: f.Force = False


class ReallocateOptions(OptionsModel):
    """How to spend a budget anew by what a trained adapter has learnt."""

    adapter: Annotated[Path, Field(description="The trained adapter."), Argument("ADAPTER")]
    budget: Annotated[
        str | None,
        BeforeValidator(_check_budget),
        Field(description=BUDGET_HELP),
        Flag(default_text="what the adapter has"),
    ] = None
    run: f.Run = f.DEFAULT_RUN
    model: f.Model = None
    model_options: f.ModelChoices = ()
    min_rank: Annotated[
        int | None, Field(ge=0, description="Smallest rank."), Flag(default_text="1 where the budget covers it, else 0")
    ] = None
    max_rank: Annotated[
        int | None, Field(ge=1, description="Largest rank."), Flag(default_text="what each site allows")
    ] = None
    modules: Modules = None
    weights_dir: f.WeightsDir = None
    offline: f.Offline = False
    force: f.Force = False
