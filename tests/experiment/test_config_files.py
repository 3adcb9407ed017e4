"""Mistakes in config files, which are reported in one sentence with file and line."""

import pathlib

import pytest

from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs

HEAD = """\
from ml_collections import ConfigDict, config_dict
from cifar_jax.experiment.defaults import get_defaults

def get_config(variant=''):
    c = get_defaults()
    c.model.name = 'SmallVGG'
    c.data.source = 'digits'
"""


@pytest.fixture
def written(tmp_path):
    """Writes a config file and returns its path."""

    def write(text: str, name: str = 'mine.py') -> pathlib.Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def refusal(path: pathlib.Path, *overrides: str, variant: str = '') -> str:
    spec = f'{path}:{variant}' if variant else str(path)
    with pytest.raises(UserError) as caught:
        configs.load(spec, overrides)
    message = str(caught.value)
    assert '\n' not in message
    return message


def test_a_file_without_mistakes_is_loaded(written):
    path = written(HEAD + '    c.model.widths = (4, 8)\n    return c\n')
    assert configs.load(str(path)).model.widths == (4, 8)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        (
            'c.optimizer.wieght_decay = .05',
            "No config key 'optimizer.wieght_decay': did you mean 'optimizer.weight_decay'?",
        ),
        ('c.lr = 1e-3', "No config key 'lr'"),
        ('c.train.epochs = 3', "No config key 'train.epochs'"),
        ('c.seed = None', 'config.seed=None must be a whole number, such as 0.'),
        ('c.data.augment = None', 'config.data.augment=None must be a list, such as ().'),
        ('c.train = None', 'config.train is a group: set one of its keys'),
        ('c.train.length = 500', 'TypeError'),
        ('c.ema = "much"', 'TypeError'),
        ('c.seed = 1 / 0', 'ZeroDivisionError: division by zero.'),
        ('raise SystemExit', 'SystemExit'),
        ('import nowhere_to_be_found', "No module named 'nowhere_to_be_found'."),
    ],
)
def test_a_mistake_is_reported_with_its_line(written, line, message):
    path = written(f'{HEAD}    {line}\n    return c\n')
    refused = refusal(path)
    assert refused.startswith(f'{path}, line 8: ')
    assert message in refused


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('get_config = 5\n', "has no function get_config: write def get_config(variant='')"),
        ('def get_config(:\n', 'line 1: SyntaxError: invalid syntax.'),
        ('\nimport nowhere_to_be_found\n', "line 2: ModuleNotFoundError: No module named 'nowhere"),
        ('x = 1\nraise ValueError("one\\ntwo")\n', 'line 2: ValueError: one.'),
        ('def get_config():\n    pass\n', 'line 1: get_config must take the name of a variant'),
        ('def get_config(a, b): pass\n', 'line 1: get_config must take the name of a variant'),
        (
            'def get_config(variant): pass\n',
            'line 1: get_config must return a ConfigDict, such as that of get_defaults(), and not '
            'None.',
        ),
        ('\0', 'null bytes'),
        ('VARIANTS = 5\n', 'VARIANTS must be a list of names'),
    ],
)
def test_a_file_that_is_no_config_is_refused(written, text, message):
    path = written(text)
    refused = refusal(path)
    assert refused.startswith(str(path))
    assert message in refused


def test_a_relative_path_has_lines_too(written, monkeypatch):
    path = written(f'{HEAD}    c.seed = 1 / 0\n    return c\n')
    monkeypatch.chdir(path.parent)
    assert refusal(pathlib.Path('mine.py')).startswith('mine.py, line 8: ZeroDivisionError')


def test_a_key_that_no_line_sets_is_reported_with_the_line_of_get_config(written):
    path = written(HEAD + '    c.train.update({"epochs": 3})\n    return c\n')
    assert refusal(path).startswith(f"{path}, line 4: No config key 'train.epochs'")


def test_a_config_that_is_not_built_on_the_defaults_is_refused(written):
    path = written(HEAD + '    return ConfigDict(dict(seed=1))\n')
    assert 'get_config must begin with get_defaults()' in refusal(path)


def test_a_reference_without_a_value_is_refused(written):
    line = '    c.seed = config_dict.required_placeholder(int)\n'
    assert 'RequiredValueError' in refusal(written(f'{HEAD}{line}    return c\n'))


def test_a_reference_still_follows_an_override(written):
    lines = '    c.schedule.rate = c.get_oneway_ref("ema")\n    c.ema = 0.5\n    return c\n'
    config = configs.load(str(written(HEAD + lines)), ['--config.ema=0.25'])
    assert config.schedule.rate == 0.25


def test_a_locked_config_takes_overrides_and_options_of_its_model(written):
    path = written(HEAD + '    return c.lock()\n')
    config = configs.load(str(path), ['--config.seed=3', '--config.model.widths=(4, 8)'])
    assert (config.seed, config.model.widths) == (3, (4, 8))


def test_the_name_of_a_file_ends_in_py(written):
    path = written(HEAD, name='mine.txt')
    assert refusal(path) == f'{path} cannot be a config file: its name must end in .py.'


def test_a_folder_is_not_a_config_file(tmp_path):
    assert refusal(tmp_path).startswith(f'No config file {tmp_path}')


def test_a_variant_is_one_of_the_file(written):
    path = written(HEAD + '    return c\nVARIANTS = ["small"]\n')
    assert refusal(path, variant='smal').endswith("no variant 'smal': did you mean 'small'?")
