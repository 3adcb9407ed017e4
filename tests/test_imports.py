"""The import rules in pyproject.toml: they hold, and detect violations."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LINT = (
    'from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))'
)
# A module, an import in it that a contract refuses, and the room that is then reported.
FORBIDDEN = {
    'models/senet.py': ('cifar_jax.experiment.config', 'experiment'),
    'training/losses.py': ('cifar_jax.experiment.workdir', 'experiment'),
    'experiment/watcher.py': ('cifar_jax.reporting.style', 'reporting'),
    'experiment/config.py': ('cifar_jax.inference.classifier', 'inference'),
    'inference/feature_maps.py': ('cifar_jax.main', 'main'),
    'ops/pool.py': ('cifar_jax.data.normalize', 'data'),
    'reference/dense.py': ('jax', 'jax'),
    'inference/predictions.py': ('cifar_jax.reference.network', 'reference'),
}

pytest.importorskip('importlinter')


def lint(folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-c', LINT],
        cwd=folder,
        env=os.environ | {'PYTHONPATH': str(folder), 'COLUMNS': '200'},
        capture_output=True,
        text=True,
    )


def add_import(path: pathlib.Path, module: str) -> None:
    with path.open('a') as file:
        file.write(f'\nimport {module}\n')


@pytest.mark.slow
def test_the_rules_hold():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_forbidden_imports_are_refused_and_named(tmp_path):
    shutil.copytree(ROOT / 'cifar_jax', tmp_path / 'cifar_jax')
    shutil.copy(ROOT / 'pyproject.toml', tmp_path)
    for name, (imported, _) in FORBIDDEN.items():
        add_import(tmp_path / 'cifar_jax' / name, imported)
    add_import(tmp_path / 'cifar_jax/data/augment/batch.py', 'cifar_jax.data.augment.geometric')
    (tmp_path / 'cifar_jax' / 'new_room.py').touch()  # in no layer
    done = lint(tmp_path)
    assert done.returncode == 1
    assert 'BROKEN' in done.stdout
    assert ' KEPT' not in done.stdout
    for name, (_, reported) in FORBIDDEN.items():
        importer = 'cifar_jax.' + name.removesuffix('.py').replace('/', '.')
        lines = [line for line in done.stdout.splitlines() if importer in line]
        assert any(reported in line for line in lines), (importer, lines)
    assert 'No cycles are allowed in cifar_jax.data.augment.' in done.stdout
    assert 'new_room' in done.stdout
