"""``training/search.json``: what the search for method and learning rate has found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from adaptsr_cli.artifacts.base import FORMAT_VERSION, Method, StrictModel


class TrialScore(StrictModel):
    """Where a trial stood at the end of a round.

    Attributes:
        iteration: Steps done.
        gain_db: Held-out PSNR-Y above the backbone's, of what is kept of the steps so far; None where training failed.
        learning_rate: Peak of the rate that the score is of, where the trial's own was too high and had to be lowered.
        losses: Mean training loss of every ten steps at that rate, and of those that are left over.
        seconds: What the round took, scoring included.
        stable: Whether none of these was far above that of another trial on the same batches, and no held-out score far
            below the backbone's. At a lowered rate there is at least one of them.
        leads_enough: Whether, where it is ahead of a lower rate of its method, it is so by enough to stay it.
    """

    iteration: Annotated[int, Field(ge=1)]
    gain_db: float | None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    losses: tuple[float, ...] = ()
    seconds: Annotated[float, Field(ge=0)] = 0.0
    stable: bool = True
    leads_enough: bool = True

    def describe(self) -> str:
        """The gain for people."""
        if self.gain_db is None:
            return "failed"
        lowered = "" if self.learning_rate is None else f" at {self.learning_rate:.2g}"
        doubts = {", unstable": not self.stable, ", too small a lead": not self.leads_enough}
        return f"{self.gain_db:+.2f} dB{lowered}" + "".join(doubt for doubt, holds in doubts.items() if holds)


class Trial(StrictModel):
    """One short training of the search.

    Attributes:
        learning_rate: With which it was begun.
        scores: At the end of each round that it took part in.
    """

    method: Method
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    scores: tuple[TrialScore, ...] = ()

    @property
    def iterations(self) -> int:
        """Steps done."""
        return self.scores[-1].iteration if self.scores else 0

    @property
    def last_rate(self) -> float:
        """The peak of the learning rate with which it goes on."""
        return (self.scores[-1].learning_rate if self.scores else None) or self.learning_rate


class RateBound(StrictModel):
    """The highest learning rate of a method that a search begins with.

    Attributes:
        usual: The preset's.
        highest: The same, or lower where a first step at a few times that rate changes the picture out of proportion.
    """

    method: Method
    usual: Annotated[float, Field(gt=0, le=1)]
    highest: Annotated[float, Field(gt=0, le=1)]

    def describe(self) -> str:
        """Why it is lower than usual, in one line."""
        return (
            f"the preset's learning rate of {self.usual:.2g} with `method` {self.method} is too high for this network: "
            f"a step at a few times that changes the picture out of proportion; {self.highest:.2g} takes its place"
        )


class SearchRecord(StrictModel):
    """A search by successive halving.

    Attributes:
        backbone_sha256: Network that it was made for.
        data_fingerprint: Images that it was made on.
        seed: Of the batches, which all trials shared.
        planned_iterations: Of the training that the winner goes on to.
        bounds: Of the learning rate of each method, by the network's first step.
        trials: In the order in which they ran.
        winner_place: Of the winner in `trials`; None while the search goes on.
        seconds: What all trials and the planning before them took together, once it is over.
        is_reused: Whether another run has made it, so that the training begins at the backbone.
    """

    artifact: Literal["search"] = "search"
    format_version: Literal[1] = FORMAT_VERSION
    backbone_sha256: str
    data_fingerprint: str
    seed: Annotated[int, Field(ge=0)]
    planned_iterations: Annotated[int, Field(ge=1)]
    bounds: tuple[RateBound, ...] = ()
    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]
    winner_place: Annotated[int, Field(ge=0)] | None = None
    seconds: Annotated[float, Field(ge=0)] = 0.0
    is_reused: bool = False

    @model_validator(mode="after")
    def _winner_was_scored(self) -> SearchRecord:
        if self.winner_place is not None and not (
            self.winner_place < len(self.trials) and self.trials[self.winner_place].scores
        ):
            raise ValueError("the winner is none of the trials that were scored")
        return self

    @property
    def winner(self) -> Trial | None:
        """The trial that the training goes on from."""
        return None if self.winner_place is None else self.trials[self.winner_place]

    @property
    def lost_iterations(self) -> int:
        """Steps of the trials that did not win."""
        return sum(trial.iterations for trial in self.trials if trial != self.winner)

    def with_score(self, place: int, number: int, score: TrialScore) -> SearchRecord:
        """The search with the score of a trial in a round."""
        trial = self.trials[place]
        scored = trial.model_copy(update={"scores": (*trial.scores[:number], score)})
        return self.model_copy(update={"trials": (*self.trials[:place], scored, *self.trials[place + 1 :])})

    def without_scores(self) -> SearchRecord:
        """The search as it was begun."""
        trials = tuple(trial.model_copy(update={"scores": ()}) for trial in self.trials)
        return self.model_copy(update={"trials": trials, "winner_place": None, "seconds": 0.0})

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headings, and a row for each trial, for people: the gain at the end of each round."""
        rounds = sorted({score.iteration for trial in self.trials for score in trial.scores})
        rows = []
        for trial in sorted(self.trials, key=lambda trial: (trial.method, trial.learning_rate)):
            gains = {score.iteration: score.describe() for score in trial.scores}
            cells = [gains.get(end, "") for end in rounds]
            fate = ("reused" if self.is_reused else "goes on") if trial == self.winner else ""
            rows.append([trial.method, f"{trial.learning_rate:.2g}", *cells, fate])
        return ["method", "learning rate", *(f"{end} steps" for end in rounds), ""], rows
