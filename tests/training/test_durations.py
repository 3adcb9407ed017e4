import pytest

from cifar_jax.errors import UserError
from cifar_jax.training.durations import steps


@pytest.mark.parametrize(
    ('duration', 'expected'),
    [
        (500, 500),
        ('500', 500),
        ('500 steps', 500),
        ('1 step', 1),
        ('8 epochs', 800),
        ('1 epoch', 100),
        ('0.5 epochs', 50),
        ('.25 epochs', 25),
        ('10%', 200),
        ('12.5 %', 250),
        ('100%', 2000),
        (' 3 epochs ', 300),
        (0, 0),
        ('0%', 0),
        ('', 0),
    ],
)
def test_every_form_of_duration_is_converted(duration: int | str, expected: int) -> None:
    assert steps(duration, steps_per_epoch=100, total_steps=2000) == expected


def test_a_duration_is_rounded_to_the_nearest_step() -> None:
    assert steps('0.34 epochs', steps_per_epoch=10, total_steps=None) == 3
    assert steps('0.36 epochs', steps_per_epoch=10, total_steps=None) == 4


def test_a_duration_above_zero_is_at_least_one_step() -> None:
    assert steps('1%', steps_per_epoch=10, total_steps=10) == 1
    assert steps('0.01 epochs', steps_per_epoch=10, total_steps=10) == 1


@pytest.mark.parametrize(
    'duration',
    ['ten', '-5', -5, '-1 epochs', '1 minute', '1.5 steps', '1.5', '1e3', 'nan', '150%', '5 %%'],
)
def test_what_is_no_duration_is_refused_with_examples(duration: int | str) -> None:
    with pytest.raises(UserError, match=r"'8 epochs', '0\.5 epochs' or '10%'"):
        steps(duration, steps_per_epoch=100, total_steps=2000)


def test_the_length_of_the_run_cannot_be_a_share_of_itself() -> None:
    with pytest.raises(UserError, match="the length of the run: write '500 steps' or '8 epochs'"):
        steps('10%', steps_per_epoch=100, total_steps=None)
