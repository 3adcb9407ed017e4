"""Checks a report in a browser: the quick part of scripts/browser_test.py."""

import pytest

import browser_test

pytest.importorskip('playwright', reason='playwright is not installed: pip install -e .[browser]')
pytest.importorskip(
    'axe_playwright_python', reason='axe is not installed: pip install -e .[browser]'
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser_test.browser(), reason='no Chromium is installed'),
]


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    """The workdir of a tiny run with its report."""
    folder = tmp_path_factory.mktemp('run') / 'workdir'
    browser_test.tiny_report(folder)
    return folder


def test_a_dark_phone_and_a_light_desktop_show_no_fault(workdir):
    views = (browser_test.VIEWS[1], browser_test.VIEWS[2])
    assert [view.name for view in views] == ['phone-dark', 'desktop-light']
    assert browser_test.faults(workdir, views) == []


def test_faults_are_reported(workdir):
    path = workdir / 'report' / 'index.html'
    original = path.read_text()
    broken_parts = (
        '<img src="data:image/png;base64,AAAA" alt=""><div style="width: 2000px">wide</div>'
    )
    broken_parts += '<p style="color: #888; background: #999">faint</p>'
    script = '<script>console.error("broken")</script>'
    path.write_text(
        original.replace('<main>', f'<main>{broken_parts}{script}').replace(
            'id="epochs" value="2"', 'id="epochs" value="3"'
        )
    )
    try:
        messages = '\n'.join(browser_test.faults(workdir, browser_test.VIEWS[:1]))
    finally:
        path.write_text(original)
    for part in (
        'broken',
        'picture is missing',
        'no alternative text',
        'too wide',
        'epochs is 3',
        'color-contrast',
    ):
        assert part in messages
