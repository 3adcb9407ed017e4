"""Check a report in headless Chromium, on a phone and a desktop, in light and dark mode.

    pip install -e '.[browser]'
    python scripts/browser_test.py [--workdir W] [--shots DIR]

W must have a report (`python -m cifar_jax.report --workdir W`); without --workdir, a run of a few
seconds is trained and reported first. Uses the installed Chromium or Chrome, and downloads nothing.
"""

import argparse
import math
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
ARGUMENTS = (
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
)
# Chromium refuses to run its sandbox as root.
ROOT_USER = hasattr(os, 'geteuid') and os.geteuid() == 0
TIMEOUT = 120_000  # milliseconds; long enough for a busy machine
# The value of each <data> element, by its id.
NUMBERS = """() => Object.fromEntries(
    [...document.querySelectorAll('data')].map(element => [element.id, element.value]))"""
PICTURES = """() => [...document.images].map(
    image => ({alt: image.alt, loaded: image.complete && image.naturalWidth > 0}))"""
OVERFLOW = """() => document.documentElement.scrollWidth - document.documentElement.clientWidth"""
OPEN_ALL = """() => document.querySelectorAll('details').forEach(part => { part.open = true })"""


class View(NamedTuple):
    """A kind of screen."""

    name: str
    width: int
    height: int
    scheme: str


VIEWS = tuple(
    View(f'{name}-{scheme}', width, height, scheme)
    for name, width, height in (('phone', 390, 844), ('desktop', 1280, 900))
    for scheme in ('light', 'dark')
)


def browser() -> str | None:
    """Returns the path of the installed Chromium or Chrome, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def tiny_report(folder: pathlib.Path) -> None:
    """Trains, evaluates and reports on the digits, in a few seconds."""
    from cifar_jax.experiment import config, run
    from cifar_jax.inference import evaluation
    from cifar_jax.reporting import build as report

    overrides = ['--config.train.length=2 epochs', '--config.data.fraction=0.3']
    run.train(config.load(f'{ROOT}/configs/numpy_cnn.py:smoke', overrides), folder)
    evaluation.evaluate(folder, 'test')
    report.write(folder, 'test')


def faults(
    workdir: pathlib.Path, views: tuple[View, ...] = VIEWS, shots: pathlib.Path | None = None
) -> list[str]:
    """Returns the faults of a workdir's report, one sentence each.

    Args:
      shots: a folder for a screenshot of the whole page in each view.
    """
    from playwright.sync_api import sync_playwright

    arguments = [*ARGUMENTS, *(['--no-sandbox'] if ROOT_USER else [])]
    problems = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser(), args=arguments, timeout=TIMEOUT
        )
        for view in views:
            context = chromium.new_context(
                viewport={'width': view.width, 'height': view.height},
                color_scheme=view.scheme,
                is_mobile=view.width < 600,
            )
            problems += [f'{view.name}: {fault}' for fault in _in_view(context, workdir)]
            if shots:
                context.pages[0].screenshot(path=shots / f'{view.name}.png', full_page=True)
            context.close()
        chromium.close()
    return problems


def _in_view(context: Any, workdir: pathlib.Path) -> Iterator[str]:
    from axe_playwright_python.sync_playwright import Axe

    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    messages, requests = [], []
    page.on('console', lambda message: messages.append(f'{message.type}: {message.text}'))
    page.on('pageerror', lambda error: messages.append(str(error)))
    page.on('request', lambda request: requests.append(request.url))
    address = (workdir / 'report' / 'index.html').resolve().as_uri()
    page.goto(address, wait_until='load')
    page.evaluate(OPEN_ALL)
    yield from (f'console message: {message}' for message in messages)
    for url in requests:
        if url != address and not url.startswith('data:'):
            yield f'the page requests {url}'
    pictures = page.evaluate(PICTURES)
    if not pictures:
        yield 'the page has no pictures'
    for picture in pictures:
        if not picture['loaded']:
            yield f'a picture is missing: {picture["alt"]}'
        if not picture['alt'].strip():
            yield 'a picture has no alternative text'
    overflow = page.evaluate(OVERFLOW)
    if overflow > 0:
        yield f'the page is {overflow} pixels too wide'
    yield from wrong_numbers(page.evaluate(NUMBERS), workdir)
    for violation in Axe().run(page).response['violations']:
        places = ', '.join(str(node['target'][0]) for node in violation['nodes'][:3])
        yield f'axe: {violation["id"]}, {violation["help"]} ({places})'


def wrong_numbers(on_page: Mapping[str, str], workdir: pathlib.Path) -> Iterator[str]:
    """Yields the numbers of the page that differ from those in metrics.jsonl and summary.json."""
    from cifar_jax.experiment import workdir as workdirs

    run = workdirs.Workdir(workdir)
    lines = workdirs.read_metrics(run)
    summary = workdirs.read_summary(run)
    split = on_page['split']
    expected = {'epochs': len(lines)}
    if split in summary:
        expected |= {key: summary[split][key] for key in ('images', 'accuracy', 'loss', 'top5')}
    if split == 'validation' and summary:
        line = next(line for line in lines if line['step'] == summary['step'])
        expected |= {key: line[f'val_{key}'] for key in ('accuracy', 'loss', 'top5')}
    for key, value in expected.items():
        # Training losses are summed in float32.
        if not math.isclose(float(on_page[key]), value, rel_tol=1e-5):
            yield f'{key} is {on_page[key]} in the page and {value} in the workdir'


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--workdir', type=pathlib.Path)
    parser.add_argument('--shots', type=pathlib.Path, help='a folder for screenshots')
    args = parser.parse_args()
    if not browser():
        sys.exit(f'None of {", ".join(BROWSERS)} is installed.')
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        workdir = args.workdir or pathlib.Path(folder) / 'run'
        if not args.workdir:
            tiny_report(workdir)
        problems = faults(workdir, shots=args.shots)
    for fault in problems:
        print(fault)
    print(f'{len(VIEWS)} views, {len(problems)} faults')
    sys.exit(bool(problems))


if __name__ == '__main__':
    main()
