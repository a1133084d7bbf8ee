"""What a check answers: a verdict in plain words, usable by a reader and by a grader."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Feedback", "WrongAnswerError"]


class WrongAnswerError(AssertionError):
    """Raised by :meth:`Feedback.raise_if_wrong`; its message is the feedback."""


@dataclass(frozen=True, repr=False)
class Feedback:
    """The verdict on one function; true if everything was right.

    Attributes:
        exercise: Which exercise.
        passed: Whether every answer was right and no argument was changed.
        message: What is right, what is wrong and on which smallest instance, in words.
        score: Share of the instances that were answered rightly with the arguments left alone, 0 to 1. A
            wrong function may be right where the mistake does not matter, so a positive score is no pass.
        mistakes: Names of the known mistakes that the answers agree with; empty if there are none.
    """

    exercise: str
    passed: bool
    message: str
    score: float
    mistakes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        return f"{'✓' if self.passed else '✗'} {self.exercise}: {self.message}"

    __repr__ = __str__  # what a notebook shows for the last line of a cell

    def raise_if_wrong(self) -> None:
        """Do nothing if everything was right.

        Raises:
            WrongAnswerError: something was wrong; the message is the feedback.
        """
        if not self.passed:
            raise WrongAnswerError(str(self))
