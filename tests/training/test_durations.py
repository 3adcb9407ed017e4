import pytest

from cifar_jax.errors import UserError
from cifar_jax.training.durations import check, steps


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
    assert steps('100%', steps_per_epoch=10, total_steps=0) == 0


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


@pytest.mark.parametrize(
    ('duration', 'per_epoch', 'expected'),
    [('1000000 epochs', 2, 2_000_000), ('2147483647', 2, 2**31 - 1)],
)
def test_the_longest_run_is_counted(duration: str, per_epoch: int, expected: int) -> None:
    assert steps(duration, steps_per_epoch=per_epoch, total_steps=None) == expected


@pytest.mark.parametrize(
    ('duration', 'words'),
    [
        ('1000001 epochs', "^'1000001 epochs' is too long: a run has at most 1,000,000 epochs"),
        ('2147483648', "^'2147483648' is too long: a run has at most 2,147,483,647 steps"),
        ('1000000 epochs', "^'1000000 epochs' is too long: a run has at most 2,147,483,647 steps"),
    ],
)
def test_a_run_that_is_too_long_to_count_is_refused(duration: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        steps(duration, steps_per_epoch=2148, total_steps=None)


@pytest.mark.parametrize('duration', ['100.5%', '101%'])
def test_more_than_the_whole_run_is_refused(duration: str) -> None:
    with pytest.raises(UserError, match='is more than the whole run'):
        steps(duration, steps_per_epoch=100, total_steps=200)


def test_a_fraction_of_a_step_is_refused_as_such() -> None:
    with pytest.raises(UserError, match=r"^'1\.5' is not a whole number of steps"):
        steps('1.5', steps_per_epoch=100, total_steps=2000)


def test_an_error_shows_the_first_forty_characters() -> None:
    for text, shown in (('x' * 40, 'x' * 40), ('x' * 41, 'x' * 40 + '...')):
        with pytest.raises(UserError, match=f"^'{shown}' is not a duration"):
            steps(text, steps_per_epoch=100, total_steps=None)


def test_a_duration_of_the_config_is_checked_before_the_data_are_known() -> None:
    for key, duration in (('train.length', '1 epoch'), ('optimizer.warmup', '100%')):
        check(key, duration, above_zero=True)
    check('train.length', '1 step', above_zero=True)
    check('optimizer.warmup', 0)
    check('train.length', '1000000 epochs')


@pytest.mark.parametrize(
    ('key', 'duration', 'words'),
    [
        ('train.length', '10%', r"^config\.train\.length: '10%' is a percentage of the run"),
        ('optimizer.warmup', 'ten', r"^config\.optimizer\.warmup: 'ten' is not a duration"),
        ('train.length', 0, "be above 0, such as '1 epochs'"),
    ],
)
def test_an_invalid_duration_of_the_config_is_refused_with_its_key(
    key: str, duration: int | str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        check(key, duration, above_zero=True)
