"""What a comparison comes to, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

from mnv2dense.evaluation.comparison import FEWEST_IMAGES, Judged
from mnv2dense.reporting.comparison import Difference, Side


def verdicts(judged: Judged, sides: Sequence[Side], *, images: int, one_configuration: bool) -> tuple[str, ...]:
    """One sentence for each side but the first; before them, of seeds of one configuration, that they are equal.

    Args:
        judged: the scores.
        sides: what they are of.
        images: how many were scored.
        one_configuration: the sides are single runs whose configs differ in the seed alone.
    """
    score = judged.rows[0].score
    if one_configuration:
        return (_equal(judged, sides), *_of_runs_that_differ(judged, sides, score))
    return tuple(
        _verdict(difference, sides[0], side, score=score, images=images)
        for difference, side in zip(judged.main, sides[1:], strict=True)
    )


def notes(judged: Judged, sides: Sequence[Side], *, one_configuration: bool) -> tuple[str, ...]:
    """What else to know of the verdicts and of the classes' marks."""
    said = []
    if not one_configuration and len(sides) > 1:
        said.append(_of_seeds(judged, sides))
        if len(sides) > 2:
            said.append(
                f"The verdicts' {len(sides) - 1} intervals are wide enough to hold all together with 95%; those of "
                "the tables hold one by one."
            )
    if classes := _of_classes(judged):
        said.append(classes)
    return tuple(said)


def _verdict(difference: Difference, one: Side, two: Side, *, score: str, images: int) -> str:
    first, other = one.label, two.label
    value, low, high = difference.value, difference.low, difference.high
    if images < FEWEST_IMAGES:
        return f"{images} images are too few to tell {first} and {other} apart: {value:+.3f} {score} on these."
    if low > 0:
        return f"{other} is better than {first} by {value:.3f} {score} [{low:.3f}, {high:.3f}]."
    if high < 0:
        return f"{first} is better than {other} by {-value:.3f} {score} [{-high:.3f}, {-low:.3f}]."
    runs = " and ".join(dict.fromkeys(str(len(side.runs)) for side in (one, two)))
    # Of several seeds these are what more of would help, not images.
    shown = f"{images:,} images" if runs == "1" else f"{runs} runs of each on {images:,} images"
    return (
        f"No difference between {first} and {other} that {shown} could show: {value:+.3f} {score} "
        f"[{low:+.3f}, {high:+.3f}]."
    )


def _equal(judged: Judged, sides: Sequence[Side]) -> str:
    values = [value for value in judged.rows[0].values if value is not None]
    score, mean = judged.rows[0].score, sum(values) / max(1, len(values))
    spread = (sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)) ** 0.5
    who = _together([side.label for side in sides])
    return (
        f"{who} are equal: one configuration, whose runs differ in the seed alone. {score} {mean:.3f} on average, "
        f"{spread:.3f} spread (standard deviation), {min(values):.3f} to {max(values):.3f}."
    )


def _of_runs_that_differ(judged: Judged, sides: Sequence[Side], score: str) -> list[str]:
    """Seeds that the images tell apart: no contradiction, and good to know."""
    apart = [
        f"{side.label} from {sides[0].label} ({difference.value:+.3f} {score} [{difference.low:+.3f}, "
        f"{difference.high:+.3f}])"
        for side, difference in zip(sides[1:], judged.main, strict=True)
        if difference.excludes_zero
    ]
    if not apart:
        return ["The images do not tell them apart either."]
    return [
        f"The images do tell {_together(apart)}: this is what a seed does here, and single runs of two configurations "
        "that differ as little say nothing of these."
    ]


def _of_seeds(judged: Judged, sides: Sequence[Side]) -> str:
    runs = [len(side.runs) for side in sides]
    if judged.freedom == 0:
        return (
            "One run of each: this is said of these very runs. Another seed may change as much; with several seeds of "
            "each (seed=1, seed=2) it is said of their configurations."
        )
    spreads = [
        f"{side.label} {spread:.3f}" for side, spread in zip(sides, judged.rows[0].spreads, strict=True) if spread
    ]
    count = " and ".join(dict.fromkeys(str(count) for count in runs))
    few = " With so few seeds little is known of their spread, and intervals are wide." if judged.freedom < 4 else ""
    return (
        f"{count} seeds of each side; how much they change ({judged.rows[0].score}, standard deviation: "
        f"{', '.join(spreads)}) is part of the intervals.{few}"
    )


def _of_classes(judged: Judged) -> str:
    cells = [
        difference
        for row in judged.classes
        if (row.images or 0) >= FEWEST_IMAGES
        for difference in row.differences
        if difference is not None
    ]
    if len(cells) < 2:
        return ""
    alone, together = sum(cell.excludes_zero for cell in cells), sum(cell.marked for cell in cells)
    left = sum((row.images or 0) < FEWEST_IMAGES for row in judged.classes)
    few = f" {left} with fewer than {FEWEST_IMAGES} images are not judged." if left else ""
    return (
        f"Of {len(cells)} differences of classes {alone} lie outside of 0 one by one, and {0.05 * len(cells):.1f} "
        f"would by chance alone; judged all together {together} are more than chance, which are marked.{few}"
    )


def _together(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
