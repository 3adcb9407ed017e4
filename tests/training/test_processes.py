"""The processes of a run: how they are found, connect and stop. tests/commands starts real ones."""

import os
import types

import jax
import numpy as np
import pytest
import tiny_training
from jax.experimental import multihost_utils

from cifar_jax.errors import UserError
from cifar_jax.experiment import run, stopping, watcher
from cifar_jax.ops import sharing
from cifar_jax.training import lost_process, numpy_trainer, parallel, processes

SLURM = {
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_NODELIST': 'node[1-2]',
    'SLURM_NTASKS': '2',
    'SLURM_PROCID': '1',
    'SLURM_LOCALID': '0',
}
OPEN_MPI = {
    'OMPI_MCA_orte_hnp_uri': '1531576320.0;tcp://10.96.0.1:34911',
    'OMPI_COMM_WORLD_SIZE': '2',
    'OMPI_COMM_WORLD_RANK': '1',
    'OMPI_COMM_WORLD_LOCAL_RANK': '0',
}


@pytest.fixture
def calls(monkeypatch):
    """The calls of `jax.distributed.initialize`, which does nothing."""
    calls = []
    monkeypatch.setattr(lost_process, 'expect', lambda: None)
    monkeypatch.setattr(processes.atexit, 'register', lambda function: None)
    monkeypatch.setattr(
        jax.distributed, 'initialize', lambda *args, **options: calls.append((args, options))
    )
    return calls


@pytest.fixture
def two(monkeypatch):
    """Lets this process believe that it is the second of two."""
    state = types.SimpleNamespace(num_processes=2, process_id=1)
    monkeypatch.setattr(processes.distributed, 'global_state', state)


def test_without_a_cluster_and_without_arguments_there_is_one_process(calls):
    processes.connect()
    assert not calls
    assert processes.count() == 1
    assert processes.is_first()


@pytest.mark.parametrize('cluster', [SLURM, OPEN_MPI])
def test_a_cluster_tells_the_processes_of_each_other(cluster, calls, monkeypatch):
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    processes.connect()
    ((arguments, options),) = calls
    assert arguments == (None, None, None)
    assert options == {'cluster_detection_method': None, 'heartbeat_timeout_seconds': 30}


def test_a_cluster_with_one_task_is_one_process_with_all_devices(calls, monkeypatch):
    for name, value in (SLURM | {'SLURM_NTASKS': '1', 'SLURM_PROCID': '0'}).items():
        monkeypatch.setenv(name, value)
    processes.connect()
    assert not calls


def test_arguments_connect_processes_without_a_cluster(calls):
    processes.connect('localhost:1', 2, 0)
    ((arguments, options),) = calls
    assert arguments == ('localhost:1', 2, 0)
    assert options['cluster_detection_method'] == 'deactivate'


@pytest.mark.parametrize('given', [('localhost:1', 0, -1), ('', 2, -1), ('localhost:1', 2, -1)])
def test_arguments_are_given_together(given, calls):
    with pytest.raises(UserError, match='need all of --coordinator HOST:PORT, --processes N'):
        processes.connect(*given)
    assert not calls


def test_the_number_of_a_process_is_below_their_count(calls):
    with pytest.raises(UserError, match=r'--process_id=2 must be from 0 to 1\.'):
        processes.connect('localhost:1', 2, 2)


def test_processes_that_do_not_meet_are_a_sentence(calls, monkeypatch):
    def late(*_, **__):
        raise RuntimeError('DEADLINE_EXCEEDED\nmore')

    monkeypatch.setattr(jax.distributed, 'initialize', late)
    with pytest.raises(UserError, match=r'cannot connect \(DEADLINE_EXCEEDED\): start all'):
        processes.connect('localhost:1', 2, 0)


def test_one_process_stops_when_it_is_asked_to():
    asked = iter([False, True])
    stop = processes.stop_together(lambda: next(asked))
    assert [stop(), stop()] == [False, True]


def test_several_processes_stop_at_the_same_call_and_remember_it(two, monkeypatch):
    monkeypatch.setattr(multihost_utils, 'reached_preemption_sync_point', lambda call: call == 1)
    stop = processes.stop_together(lambda: False)
    assert [stop() for _ in range(4)] == [False, True, True, True]


def test_ctrl_c_in_one_process_is_sigterm_to_all(two, monkeypatch):
    sent, names = [], []
    monkeypatch.setattr(os, 'kill', lambda pid, number: sent.append((pid, number)))
    before = [stopping.signal.getsignal(number) for number in (2, 15)]
    with stopping.signals(names.append):
        assert stopping.signal.getsignal(15) is before[1], "JAX's own"
        stopping.signal.raise_signal(2)
    assert names == ['SIGINT']
    assert sent == [(os.getpid(), 15)]
    assert [stopping.signal.getsignal(number) for number in (2, 15)] == before


def test_a_process_that_follows_waits_for_nothing():
    with watcher.Follower().watching() as follower:
        follower.started(0, [])
        follower.stepped(1)
        follower.epoch_ended({}, None)
        assert not follower.wants(1)
        assert not follower.stop
    assert follower.signal == 'SIGTERM', 'what JAX stops all processes by'


def test_the_first_process_goes_first(two, monkeypatch):
    order = []
    monkeypatch.setattr(processes, 'wait', order.append)
    with processes.first_alone('the data'):
        order.append('second')
    processes.distributed.global_state.process_id = 0
    with processes.first_alone('the data'):
        order.append('first')
    assert order == ['the data', 'second', 'first', 'the data']


def test_processes_that_differ_are_told(two, monkeypatch):
    others = []
    monkeypatch.setattr(
        multihost_utils, 'process_allgather', lambda number: np.array([number, *others])
    )
    others.append(5)
    processes.require_same(5, 'They differ.')
    with pytest.raises(UserError, match='They differ'):
        processes.require_same(-1, 'They differ.')


def test_one_process_is_the_same_as_itself():
    processes.require_same(3, 'It differs.')


def test_processes_compare_the_keys_that_change_results():
    config = tiny_training.config_of()
    checksum = run.checksum(config)
    assert 0 <= checksum < 2**31
    assert run.checksum(tiny_training.config_of(data__dir='elsewhere')) == checksum
    assert run.checksum(tiny_training.config_of(seed=1)) != checksum


def test_each_process_has_its_own_cores(monkeypatch):
    monkeypatch.setattr(sharing, 'cores', lambda: range(8))
    with jax.set_mesh(parallel.make_mesh(4, 4)):
        assert sharing.threads() == 2
        monkeypatch.setattr(jax, 'process_count', lambda: 2)
        assert sharing.threads() == 4


@pytest.mark.parametrize(
    'error',
    [
        'Gloo all-reduce failed: Connection closed by peer',
        'UNAVAILABLE: Failed to send RPC to coordination service',
        'INTERNAL: NCCL operation ncclAllReduce failed: remote process exited',
        'The task has missed its heartbeat',
    ],
)
def test_an_error_that_means_a_lost_process_is_a_sentence(error):
    with pytest.raises(UserError, match=r'^Another process of this run has ended, or cannot be'):
        lost_process.refuse(RuntimeError(error))


def test_other_errors_are_not_explained_by_a_lost_process():
    lost_process.refuse(RuntimeError('Invalid argument'))


def test_the_numpy_backend_refuses_several_processes(two):
    with pytest.raises(UserError, match='trains in one process: leave out --processes'):
        numpy_trainer.set_up(tiny_training.config_of(), profile=False)


def devices_of(*numbers):
    """As many devices of each process."""
    return [
        types.SimpleNamespace(process_index=process, number=number)
        for process, count in enumerate(numbers)
        for number in range(count)
    ]


@pytest.mark.parametrize('count', [1, 2, 3])
def test_a_mesh_has_the_first_devices_of_each_process(count):
    chosen = parallel.of_each_process.__wrapped__(devices_of(3, 3), count)
    expected = [(process, number) for process in range(2) for number in range(count)]
    assert [(device.process_index, device.number) for device in chosen] == expected


def test_processes_with_different_numbers_of_devices_need_a_number(two, monkeypatch):
    monkeypatch.setattr(jax, 'devices', lambda: devices_of(3, 1))
    with pytest.raises(UserError, match=r'different numbers of devices: set config\.mesh\.devices'):
        parallel.mesh_of(tiny_training.config_of(mesh__devices=0, train__batch_size=8))


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('mesh__devices', 3, 'mesh.devices=3 must be a multiple of the 2 processes'),
        ('train__batch_size', 7, 'batch_size=7 must be a multiple of the 2 processes'),
    ],
)
def test_processes_share_devices_and_batches_evenly(key, value, message, two):
    config = tiny_training.config_of(
        **({'mesh__devices': 2, 'train__batch_size': 8} | {key: value})
    )
    with pytest.raises(UserError, match=message):
        parallel.mesh_of(config)
