"""A run in two processes of two CPU devices each, as a user starts it."""

import json
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from cifar_jax.experiment import config as configs
from cifar_jax.experiment import run
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier
from cifar_jax.training import weights

ROOT = pathlib.Path(__file__).parents[2]
CONFIG, PATIENCE = 'configs/plain_cnn.py:smoke', 300
# Batch norm, DropBlock, dropout and augmentation, over the global batch.
SETTINGS = 'model.widths=(4,8) model.kernels=(3,3) model.dropblock_sizes=(2,) model.hidden=8 '
SETTINGS += "data.augment=[{'name':'translate','pixels':2}] data.fraction=0.15 ema=0.9 "
SETTINGS += 'train.batch_size=16 train.length=20 checkpoint.every=4 eval_batch_size=50 '
# Adam would move weights whose gradient is rounding noise as far as all others, and at a higher
# rate twenty steps amplify rounding a thousandfold.
SETTINGS += 'log.tensorboard=false optimizer.name=sgd schedule.rate=0.001'
OVERRIDES = [f'--config.{setting}' for setting in SETTINGS.split()]


def start(workdir: pathlib.Path) -> list[subprocess.Popen[str]]:
    """Starts both processes of the run in a workdir."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    command = [sys.executable, '-m', 'cifar_jax.main', '--config', CONFIG, *OVERRIDES, '--json']
    command += ['--config.mesh.devices=4', '--workdir', str(workdir), '--processes', '2']
    command += ['--coordinator', f'localhost:{port}', '--process_id']
    pipe = subprocess.PIPE
    return [
        subprocess.Popen([*command, str(number)], cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        for number in range(2)
    ]


@pytest.fixture
def resumed(tmp_path):
    """The workdir of a run of which process 0 was killed, and what the processes printed."""
    first, second = started = start(tmp_path / 'w')
    try:
        while not any(path.name.isdigit() for path in (tmp_path / 'w').glob('checkpoints/*')):
            assert first.poll() is None, first.communicate()
            time.sleep(0.1)
        first.kill()
        began = time.monotonic()
        lost = second.communicate(timeout=60), second.returncode, time.monotonic() - began
        both = start(tmp_path / 'w')
        started += both
        ended = [process.communicate(timeout=PATIENCE) for process in both]
        codes = [process.returncode for process in both]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    return tmp_path / 'w', lost, ended, codes


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_end_and_resume_where_one_is_killed(resumed, tmp_path):
    workdir, ((out, err), code, seconds), ended, codes = resumed
    assert code == 1
    assert err.startswith('cifar_jax: Another process of this run has ended')
    assert err.count('\n') == 1, err
    assert out == '', 'process 0 writes to the console'
    assert seconds < 60

    assert codes == [0, 0], ended
    (out, _), (silent, _) = ended
    assert 'resumed at step' in out
    assert silent == ''
    summary = json.loads(out.splitlines()[-1])
    assert summary['step'] == 20
    environment = workdirs.read_config_file(Workdir(workdir))['environment']
    assert (environment['hosts'], environment['devices']) == (2, 4)

    config = configs.load(CONFIG, [*OVERRIDES, '--config.mesh.devices=1'])
    one = run.train(config, tmp_path / 'one')
    assert summary['train_accuracy'] == one['train_accuracy']
    trained, expected = (
        weights.named(classifier.load(Workdir(folder), 'latest').variables)
        for folder in (workdir, tmp_path / 'one')
    )
    for name, leaf in expected.items():
        # A convolution's bias before batch norm has no gradient but noise, and moves its mean.
        if not name.endswith(('Conv_0/bias', 'Conv_1/bias', '/mean')):
            np.testing.assert_allclose(trained[name], leaf, rtol=0, atol=1e-4, err_msg=name)
