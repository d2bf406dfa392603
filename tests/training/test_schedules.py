from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from mnv2dense.training.schedules import Constant, Cosine, Exponential, Poly, Step


def learning_rates(schedule: Callable[[int], float], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = LambdaLR(optimizer, schedule)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_warm_up_rises_linearly_from_its_start_to_the_base_rate() -> None:
    schedule = Constant(total_steps=10, warmup=4, warmup_start=0.2)
    assert learning_rates(schedule, 6) == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0, 2.0])


def test_a_float_warm_up_is_a_fraction_of_the_run_and_an_int_is_steps() -> None:
    assert Constant(total_steps=200, warmup=0.05).warmup_steps == 10
    assert Constant(total_steps=200, warmup=1).warmup_steps == 1


def test_cosine_is_half_way_in_the_middle_of_what_follows_the_warm_up() -> None:
    schedule = Cosine(total_steps=10, warmup=2, warmup_start=0.0, final=0.1)
    assert schedule(2) == 1.0
    assert schedule(6) == pytest.approx(0.55)  # midway between 1 and 0.1
    assert schedule(10) == pytest.approx(0.1)


def test_the_rate_stays_at_its_end_when_a_run_goes_on_past_its_total() -> None:
    assert Cosine(total_steps=10, final=0.1)(25) == pytest.approx(0.1)
    assert Poly(total_steps=10)(25) == 0.0


def test_poly_follows_its_power() -> None:
    assert Poly(total_steps=4, power=2)(1) == pytest.approx(0.75**2)
    assert Poly(total_steps=4)(2) == pytest.approx(0.5**0.9)


def test_step_falls_at_fractions_of_the_run() -> None:
    schedule = Step(total_steps=10, milestones=(0.5, 0.8), gamma=0.1)
    assert [schedule(step) for step in (4, 5, 7, 8)] == pytest.approx([1, 0.1, 0.1, 0.01])


def test_step_takes_whole_numbers_as_epochs() -> None:
    assert Step(total_steps=120, milestones=(8, 11), epochs=12).milestone_steps == [80, 110]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Cosine(total_steps=0), "total_steps=0"),
        (lambda: Cosine(total_steps=10, warmup=11), "warmup=11 is 11 of the run's 10"),
        (lambda: Cosine(total_steps=10, warmup=-0.1), "warmup=-0.1"),
        (lambda: Cosine(total_steps=10, warmup_start=2), "warmup_start=2"),
        (lambda: Cosine(total_steps=10, final=-1), "final=-1"),
        (lambda: Poly(total_steps=10, power=0), "power=0"),
        (lambda: Step(total_steps=10, gamma=1.5), "gamma=1.5"),
        (lambda: Exponential(total_steps=10, rate=0), "rate=0"),
        (lambda: Exponential(total_steps=10, epochs=0), "epochs=0"),
        (lambda: Step(total_steps=10, milestones=(8,)), r"8 is an epoch.*trainer\.max_epochs"),
        (lambda: Step(total_steps=10, milestones=(12,), epochs=12), "inside the run"),
        (lambda: Step(total_steps=10, milestones=(0.8, 0.5)), "after the one before"),
    ],
)
def test_impossible_settings_are_refused_by_name(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("kind", [Constant, Cosine, Exponential, Poly, Step])
def test_a_schedule_resumed_from_plain_state_goes_on_exactly(
    kind: Callable[..., Callable[[int], float]],
) -> None:
    def start(total_steps: int) -> tuple[torch.optim.SGD, LambdaLR]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        return optimizer, LambdaLR(optimizer, kind(total_steps=total_steps, warmup=0.2))

    def advance(optimizer: torch.optim.SGD, scheduler: LambdaLR, steps: int) -> list[float]:
        rates = []
        for _ in range(steps):
            optimizer.step()
            scheduler.step()
            rates.append(scheduler.get_last_lr()[0])
        return rates

    optimizer, scheduler = start(20)
    advance(optimizer, scheduler, 7)
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), scheduler.state_dict()], file)
    expected = advance(optimizer, scheduler, 13)

    file.seek(0)
    optimizer_state, scheduler_state = torch.load(file, weights_only=True)
    optimizer, scheduler = start(20)
    optimizer.load_state_dict(optimizer_state)
    scheduler.load_state_dict(scheduler_state)
    assert advance(optimizer, scheduler, 13) == expected


def test_the_exponential_falls_at_the_end_of_each_epoch() -> None:
    factor = Exponential(total_steps=30, rate=0.5, epochs=3)
    assert [factor(step) for step in (0, 9, 10, 19, 20, 29)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
