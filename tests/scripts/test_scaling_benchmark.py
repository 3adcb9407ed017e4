"""The measurements of scaling, with measured values that are given."""

import argparse

import numpy as np

import scaling_benchmark

OPTIONS = argparse.Namespace(steps=7, rounds=2, overrides=['--config.seed=1'])


def give(monkeypatch, measured):
    calls = []

    def result(measure, config, overrides, **options):
        calls.append((measure, overrides, options))
        return measured(options) if callable(measured) else measured

    monkeypatch.setattr(scaling_benchmark, 'result', result)
    return calls


def test_processes_agree_up_to_the_largest_differences(monkeypatch):
    def trained(options):
        other = 0.5 if options['processes'] == 2 else 0.0
        b = np.array([10.0, 1.0 - 2 * other])
        np.savez(options['out'], a=np.array([1.0, -4.0 + other]), b=b)
        return {}

    calls = give(monkeypatch, trained)
    *narrow, wide, _ = scaling_benchmark.agreement(OPTIONS)
    assert [text for _, text in narrow] == [
        '1.0e+00 (b)',
        "1.2e-01 of a tensor's largest value (a)",
    ]
    assert {what for what, _ in narrow} == {'2 processes x 2 devices, 7 steps, float32'}
    assert wide[0].endswith('float64')
    runs = [
        (options['processes'], overrides[1], options['float64']) for _, overrides, options in calls
    ]
    assert {overrides[0] for _, overrides, _ in calls} == {'--config.seed=1'}
    one, four = '--config.mesh.devices=1', '--config.mesh.devices=4'
    assert runs == [(1, one, False), (2, four, False), (1, one, True), (2, four, True)]


def test_the_cost_of_a_mesh_is_in_percent(monkeypatch):
    give(monkeypatch, {'ratio': 1.0123, 'rounds': [0.99, 1.05]})
    ((_, text),) = scaling_benchmark.overhead(OPTIONS)
    assert text == '+1.2 % (rounds: -1.0 to +5.0)'


def test_checkpoints_and_logs_cost_a_share_of_an_epoch(monkeypatch):
    give(monkeypatch, {'seconds': 60.0, 'checkpoints': 0.0125, 'log': 0.001})
    assert [text for _, text in scaling_benchmark.logging(OPTIONS)] == ['1.25%', '0.10%']


def test_memory_is_shown_after_some_epochs_and_the_last(monkeypatch):
    give(monkeypatch, {'mebibytes': [float(n) for n in range(1, 58)]})
    ((what, text),) = scaling_benchmark.memory(OPTIONS)
    assert what == 'MiB after epochs 1, 2, 5, 10, 20, 30, 40, 57 of 2,000 steps'
    assert text == '1, 2, 5, 10, 20, 30, 40, 57'
