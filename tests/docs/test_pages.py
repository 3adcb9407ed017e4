"""The commands, config keys and links in the README and docs/ are valid."""

import argparse
import importlib
import inspect
import pathlib
import re
import shlex

import pytest

from cifar_jax import models
from cifar_jax.experiment import config as configs
from cifar_jax.experiment.defaults import get_defaults

ROOT = pathlib.Path(__file__).parents[2]
GUIDES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
PAGES = [*GUIDES, ROOT / 'CONTRIBUTING.md', ROOT / 'CHANGELOG.md']
PROGRAM = r'python (?:-m cifar_jax\.\w+|scripts/\w+\.py)'
BETWEEN_COMMANDS = {'&&', '||', '|', ';', '>', '<'}


def code(page: pathlib.Path) -> list[str]:
    """Returns the indented lines of a page, joined at a backslash, and its spans of code."""
    text = re.sub(r'^ *```.*?^ *```', '', page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = re.findall(r'^ {4,}(.*)$', text.replace('\\\n', ' '), re.MULTILINE)
    return lines + [span.replace('\n', ' ') for span in re.findall(r'`([^`]+)`', text)]


def commands(line: str) -> list[list[str]]:
    """Splits a line of shell into commands, and each of those into words.

    >>> commands("ls | python a.py --x='1 2' && b  # comment")
    [['ls'], ['python', 'a.py', '--x=1 2'], ['b']]
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars='&|;<>')
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in lexer:
        if word in BETWEEN_COMMANDS:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def in_pages() -> list[str]:
    """Returns every command of the pages that starts a program of this project, once."""
    lines = [line for page in GUIDES for line in code(page) if re.search(PROGRAM, line)]
    parts = [words for line in lines for words in commands(line) if 'python' in words]
    starts = [words[words.index('python') :] for words in parts]
    return sorted({shlex.join(w) for w in starts if re.match(f'{PROGRAM} .', ' '.join(w))})


class ParsedError(Exception):
    """Raised in place of running a program, with its parsed arguments."""


@pytest.fixture
def parse(monkeypatch):
    """Returns a function that parses a command as its program does, and ends there."""
    parse_known = argparse.ArgumentParser.parse_known_args

    def parse_known_args(self, args=None, namespace=None):
        raise ParsedError(*parse_known(self, args, namespace))

    def parse_args(self, args=None, namespace=None):
        parsed, rest = parse_known(self, args, namespace)
        if rest:
            self.error(f'unrecognized arguments: {rest}')
        raise ParsedError(parsed, rest)

    def parse(words):
        if words[1] == '-m':
            module, arguments = words[2], words[3:]
        else:
            module, arguments = pathlib.Path(words[1]).stem, words[2:]
        program = importlib.import_module(module)
        monkeypatch.setattr('sys.argv', [module, *arguments])
        monkeypatch.setattr(argparse.ArgumentParser, 'parse_known_args', parse_known_args)
        monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_args)
        with pytest.raises(ParsedError) as parsed:
            program.main()
        monkeypatch.undo()
        return parsed.value.args

    return parse


@pytest.mark.parametrize('command', in_pages())
def test_a_command_is_accepted_by_its_program(command, parse, monkeypatch, tmp_path):
    words = shlex.split(command)
    arguments, overrides = parse(words)
    monkeypatch.chdir(ROOT)
    if 'cifar_jax.sweep' in words:
        sweep = importlib.import_module('cifar_jax.sweep')
        sweep.main([*words[3:], '--out', str(tmp_path), '--dry-run'])
    elif getattr(arguments, 'config', None) not in (None, 'FILE'):
        specs = arguments.config if isinstance(arguments.config, list) else [arguments.config]
        for spec in specs:
            configs.load(str(spec), overrides)
    else:
        assert not overrides


@pytest.mark.parametrize('page', GUIDES, ids=lambda page: page.name)
def test_a_key_of_the_config_exists(page):
    keys = re.findall(r'(?<![\w.])(?:--)?config\.(?!json|py)([a-z][\w.]*\w)', '\n'.join(code(page)))
    for key in keys:
        node = get_defaults()
        for part in key.split('.'):
            if key.startswith('model.') and part != 'model':
                break  # the options of a model are not in the defaults
            assert part in node, key
            node = node[part]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if not link.startswith(('http:', 'https:')):
            path, _, heading = link.partition('#')
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not heading or heading in headings(target), link


def headings(page: pathlib.Path) -> list[str]:
    """Returns the names that GitHub gives the headings of a page for links to them."""
    titles = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
    return [re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles]


@pytest.mark.parametrize('page', GUIDES, ids=lambda page: page.name)
def test_a_file_or_program_that_is_named_exists(page):
    for span in code(page):
        if re.fullmatch(r'(cifar_jax|configs|scripts|docs|tests|results)/[\w./]*\w', span):
            assert (ROOT / span).exists(), span
        if re.fullmatch(PROGRAM, span):
            program = span.split()[-1].removesuffix('.py').replace('.', '/')
            assert (ROOT / f'{program}.py').is_file(), span


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_earlier_projects_are_introduced_before_they_are_named(page):
    """By a link to docs/results.md, which gives their titles, authors and years."""
    text = page.read_text()
    named = re.search(r'\bS[0-4]\b', text)
    if named and page.name != 'results.md':
        assert 'results.md#sources' in text[: text.find('\n\n', named.start())]


def test_the_files_that_the_readme_recommends_are_as_short_as_it_says():
    training = [ROOT / 'cifar_jax' / 'training' / f'{name}.py' for name in ('plan', 'step', 'loop')]
    networks = [pathlib.Path(inspect.getfile(model)) for model in models.MODELS.values()]
    for path, limit in [(p, 200) for p in training] + [(p, 150) for p in networks]:
        assert len(path.read_text().splitlines()) < limit, path


def test_the_readme_is_a_guide_of_at_most_150_lines():
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 150
