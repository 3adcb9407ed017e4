"""The comparison of streamed images with images in memory."""

import pathlib

from rich.console import Console

import streaming

CONFIG = pathlib.Path(__file__).parents[2] / 'configs' / 'small_vgg.py'


def test_both_kinds_train_the_same_weights_and_are_compared(tmp_path):
    overrides = {
        'data.source': 'digits',
        'data.dir': str(tmp_path),
        'data.image_size': 8,
        'model.widths': (3, 4),
        'train.batch_size': 16,
        'mesh.devices': 1,
    }
    options = [f'--config.{key}={value}' for key, value in overrides.items()]
    results = {
        kind: [streaming.measure(str(CONFIG), options, kind, 10.0, 2)] for kind in streaming.KINDS
    }
    console = Console(width=120)
    with console.capture() as capture:
        console.print(streaming.table(results))
    assert 'the same weights in all runs' in capture.get()
    assert 'MB through 0.0 MB' in capture.get()
    results['streamed'][0]['sha256'] = 'another'
    assert 'DIFFERENT' in streaming.table(results).caption
