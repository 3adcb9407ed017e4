"""Runs of the NumPy trainer: its workdir, and interrupted epochs."""

import itertools
import json
import pathlib
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training

from cifar_jax.crosscheck import check as report
from cifar_jax.data import pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import preprocessing, run, watcher
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import evaluation
from cifar_jax.models.image_model import head_name
from cifar_jax.reference import specs
from cifar_jax.reference.network import Network
from cifar_jax.training import history, numpy_network, numpy_trainer, parallel
from cifar_jax.training import state as states
from cifar_jax.training.flax_network import ACTIVATIONS, FlaxNetwork

CONFIG = pathlib.Path(__file__).parents[2] / 'configs' / 'numpy_cnn.py'
WALL_TIMES = ('seconds', 'images_per_second')
# Statistics, masks and an optimizer with a state are what a resumed run could get wrong.
LAYERS = (
    "[('conv', {'depth': 3, 'stride': 2}), ('batchnorm',), ('activation', {'activation': 'relu'}), "
    "('maxpool',), ('reshape',), ('dropout', {'rate': 0.3}), ('dense', {'neurons': 10})]"
)


PLAIN = "[('reshape',), ('dense', {'neurons': 10})]"


def config_of(**overrides):
    values = {
        'data__fraction': 0.15,
        'model__layers': LAYERS,
        'optimizer__name': 'adam',
        'train__length': '4 epochs',
        'log__tensorboard': False,
    } | overrides
    arguments = [f'--config.{key.replace("__", ".")}={value}' for key, value in values.items()]
    return configs.load(f'{CONFIG}:smoke', arguments)


def lines(folder):
    parsed = history.read(folder / history.FILE)
    for line in parsed:
        for key in WALL_TIMES:
            assert line.pop(key) > 0
    return parsed


def accuracy_of(line):
    return line['val_accuracy']


def refusal(**overrides):
    with pytest.raises(UserError) as caught:
        config_of(**overrides)
    return str(caught.value)


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    """The workdir and the summary of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp('unbroken')
    return folder, run.train(config_of(), folder)


def test_a_run_leaves_the_files_of_any_other_run(unbroken):
    folder, summary = unbroken
    names = {path.name for path in folder.iterdir()} - {'.lock'}
    assert names == {
        'config.json',
        'preprocessing.json',
        'metrics.jsonl',
        'checkpoints',
        'run_id',
        'summary.json',
    }
    assert workdirs.read_summary(Workdir(folder)) == summary
    assert summary['finished'] is True
    log = lines(folder)
    assert [line['epoch'] for line in log] == [1, 2, 3, 4]
    parts = [f'{part}_{key}' for part in ('train', 'val') for key in ('loss', 'accuracy', 'top5')]
    assert set(log[0]) == {'epoch', 'step', 'rate', *parts}


def test_checkpoints_are_npz_without_pickle_of_the_latest_two_epochs_and_the_best(unbroken):
    folder, summary = unbroken
    names = {int(path.stem) for path in (folder / 'checkpoints').iterdir()}
    assert names == {line['step'] for line in lines(folder)[-2:]} | {summary['step']}
    for path in (folder / 'checkpoints').iterdir():
        with np.load(path, allow_pickle=False) as file:
            assert all(file[key].dtype != object for key in file)


def test_evaluate_reads_the_weights_that_the_run_reports(unbroken):
    folder, summary = unbroken
    result = evaluation.evaluate(folder, 'validation')
    assert result['sha256'] == summary['sha256']
    assert result['accuracy'] == summary['val_accuracy']
    # JAX computes what NumPy has validated.
    assert result['loss'] == pytest.approx(summary['val_loss'], rel=1e-5)
    assert json.loads((folder / 'summary.json').read_text())['validation'] == result


def test_an_interrupted_epoch_begins_again_and_the_run_ends_with_the_same_bits(
    unbroken, tmp_path, monkeypatch
):
    seen = []

    def interrupted(self, step):
        seen.append(step)
        self.stop = self.stop or len(seen) == 13
        return False

    per_epoch = lines(unbroken[0])[0]['step']
    assert per_epoch < 13 < 4 * per_epoch
    assert 13 % per_epoch
    monkeypatch.setattr(watcher.Watcher, 'wants', interrupted)
    stopped = run.train(config_of(), tmp_path)
    assert (stopped['finished'], stopped['step']) == (False, 13 // per_epoch * per_epoch)
    assert run.train(config_of(), tmp_path)['sha256'] == unbroken[1]['sha256']
    assert lines(tmp_path) == lines(unbroken[0])


@pytest.mark.parametrize(
    ('checkpoint', 'chosen'),
    [('latest', lambda log: log[-1]), ('best', lambda log: max(log, key=accuracy_of))],
)
def test_a_checkpoint_is_loaded_by_its_role(unbroken, checkpoint, chosen):
    folder, _ = unbroken
    config, mesh = config_of(), parallel.make_mesh(1, 1)
    image_shape = preprocessing.read(Workdir(folder)).image_shape
    loaded = numpy_trainer.load(config, folder, checkpoint, 10, image_shape, mesh)
    assert loaded.step == chosen(lines(folder))['step']


def test_a_run_without_a_checkpoint_cannot_be_loaded(tmp_path):
    mesh = parallel.make_mesh(1, 1)
    with pytest.raises(UserError, match='has no checkpoint yet: train it first'):
        numpy_trainer.load(config_of(), tmp_path, 'latest', 10, (8, 8, 3), mesh)


class Logging(tiny_training.Watcher):
    """Keeps the log of a run as its workdir does, and waits for every step or for some."""

    def __init__(self, folder, stop_after=None, wanted=None):
        super().__init__(stop_after)
        self.folder, self.wanted, self.told = folder, wanted, []

    def wants(self, step):
        return self.wanted is None or step in self.wanted

    def stepped(self, step):
        super().stepped(step)
        self.told.append(step)

    def epoch_ended(self, line, variables):
        super().epoch_ended(line, variables)
        with open(self.folder / 'metrics.jsonl', 'a', encoding='utf-8') as file:
            print(json.dumps(line), file=file)


def plan_of(**overrides):
    """The plan of a run of two epochs of a single layer, of 7 steps each."""
    overrides = {'model__layers': PLAIN, 'train__length': '2 epochs', 'optimizer__name': 'sgd'} | {
        **overrides
    }
    config = config_of(**overrides)
    plan = numpy_trainer.plan(config, pipeline.prepare(config.data))
    assert 4 < plan.steps_per_epoch < 10
    return plan


def test_a_run_that_stops_within_an_epoch_has_the_weights_before_it(tmp_path):
    plan = plan_of()
    watcher = Logging(tmp_path, stop_after=plan.steps_per_epoch + 2)
    result = numpy_trainer.run(plan, tmp_path, watcher)
    assert (result.step, result.chosen) == (plan.steps_per_epoch, None)
    before = watcher.variables[plan.steps_per_epoch]
    assert states.sha256(dict(result.variables)) == states.sha256(dict(before))


def test_a_run_that_is_stopped_at_the_end_of_an_epoch_keeps_it(tmp_path):
    plan = plan_of()
    watcher = Logging(tmp_path, stop_after=plan.steps_per_epoch, wanted={plan.steps_per_epoch})
    result = numpy_trainer.run(plan, tmp_path, watcher)
    assert (result.step, result.chosen) == (plan.steps_per_epoch, None)
    assert [line['step'] for line in result.history] == [plan.steps_per_epoch]


def test_a_watcher_is_told_of_the_steps_that_it_waits_for(tmp_path):
    plan = plan_of()
    wanted = {2, plan.steps_per_epoch + 3}
    watcher = Logging(tmp_path, wanted=wanted)
    numpy_trainer.run(plan, tmp_path, watcher)
    assert watcher.told == sorted(wanted)


def test_a_run_begins_at_its_latest_checkpoint(tmp_path):
    """Which is not the first one by name: 7.npz, 14.npz."""
    first = numpy_trainer.run(plan_of(), tmp_path, Logging(tmp_path))
    plan, watcher = plan_of(train__length='3 epochs'), Logging(tmp_path)
    result = numpy_trainer.run(plan, tmp_path, watcher)
    assert watcher.began == first.step == 2 * plan.steps_per_epoch
    assert watcher.lines[:2] == first.history
    assert result.history == watcher.lines
    assert result.step == 3 * plan.steps_per_epoch


def test_each_step_has_the_rate_of_the_schedule(tmp_path, monkeypatch):
    plan = plan_of(schedule__name='linear', schedule__rate=0.5)
    rates, step = [], Network.step

    def recording(self, images, labels, rate, rng):
        rates.append(rate)
        return step(self, images, labels, rate, rng)

    monkeypatch.setattr(Network, 'step', recording)
    result = numpy_trainer.run(plan, tmp_path, Logging(tmp_path))
    total, ends = plan.total_steps, [plan.steps_per_epoch, plan.total_steps]
    assert rates == pytest.approx([0.5 * (1 - done / total) for done in range(total)])
    assert [line['rate'] for line in result.history] == [rates[end - 1] for end in ends]


def test_the_seconds_of_an_epoch_are_those_since_it_began(tmp_path, monkeypatch):
    clock = types.SimpleNamespace(perf_counter=itertools.count(5.0, 3.0).__next__)
    monkeypatch.setattr(numpy_trainer, 'time', clock)
    result = numpy_trainer.run(plan_of(), tmp_path, Logging(tmp_path))
    assert [line['seconds'] for line in result.history] == [3, 3]


def test_weights_that_diverge_in_the_last_update_stop_the_run(tmp_path):
    plan = plan_of(train__length='1 epochs', schedule__rate=1e38)
    images, labels = plan.data.train
    data = plan.data._replace(
        train=plan.data.train._replace(images=images[:8], labels=labels[:8]),
        validation=None,
        normalizer=plan.data.normalizer._replace(std=np.full((1, 1, 3), 1e-6, np.float32)),
    )
    config = plan.config.copy_and_resolve_references()
    config.train.batch_size = 8
    plan = numpy_trainer.plan(config, data)
    assert plan.total_steps == 1
    with pytest.raises(UserError, match=r'^After step 1 a weight is not finite: lower config'):
        numpy_trainer.run(plan, tmp_path, Logging(tmp_path))


def test_the_initial_variables_are_those_that_a_run_of_the_same_seed_draws():
    plan = plan_of(seed=4)
    shape = plan.data.train.images.shape[1:]
    drawn = numpy_trainer.initial_variables(plan.config, 10, shape)
    assert states.sha256(drawn) == states.sha256(numpy_network.variables(plan.network))
    other = numpy_trainer.initial_variables(plan_of(seed=5).config, 10, shape)
    assert states.sha256(drawn) != states.sha256(other)


def test_the_latest_two_checkpoints_and_the_best_are_kept_of_many_and_other_files_left(tmp_path):
    class FirstIsBest(Logging):
        def epoch_ended(self, line, variables):
            line['val_loss'] = float(line['epoch'])
            super().epoch_ended(line, variables)

    plan = plan_of(train__length='6 epochs', train__monitor='loss')
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints' / 'copy of 7.npz').write_bytes(b'of a user')
    numpy_trainer.run(plan, tmp_path, FirstIsBest(tmp_path))
    kept = [f'{number * plan.steps_per_epoch}.npz' for number in (1, 5, 6)]
    names = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
    assert names == {*kept, 'copy of 7.npz'}


def test_a_run_whose_schedule_spans_it_is_lengthened_by_extend_alone_which_is_recorded(tmp_path):
    def configured(length):
        return config_of(schedule__name='linear', train__length=length, model__layers=PLAIN)

    run.train(configured('1 epochs'), tmp_path)
    with pytest.raises(UserError, match=r"^config.train.length='2 epochs' extends .* --extend"):
        run.train(configured('2 epochs'), tmp_path)
    stored = json.loads((tmp_path / 'config.json').read_text())
    assert stored['config']['train']['length'] == '1 epochs'
    run.train(configured('2 epochs'), tmp_path, extend=True)
    stored = json.loads((tmp_path / 'config.json').read_text())
    spanning = ["the schedule 'linear'"]
    assert stored['extended'] == [{'from': '1 epochs', 'to': '2 epochs', 'spanning': spanning}]
    run.train(configured('2 epochs'), tmp_path)  # resumes without --extend


def test_a_run_that_is_lengthened_has_no_summary_until_it_is_finished_again(tmp_path, monkeypatch):
    run.train(config_of(train__length='1 epochs', model__layers=PLAIN), tmp_path)
    longer = config_of(train__length='3 epochs', model__layers=PLAIN)

    def stop(self, step):
        self.stop = step > 2 * lines(tmp_path)[0]['step']
        return False

    with monkeypatch.context() as patch:
        patch.setattr(watcher.Watcher, 'wants', stop)
        assert run.train(longer, tmp_path)['finished'] is False
    assert not (tmp_path / 'summary.json').exists()
    assert run.train(longer, tmp_path)['epoch'] == 3


def test_a_damaged_checkpoint_is_skipped_and_the_run_ends_with_the_same_bits(
    unbroken, tmp_path, caplog
):
    run.train(config_of(train__length='3 epochs'), tmp_path)
    latest = max((tmp_path / 'checkpoints').iterdir(), key=lambda path: int(path.stem))
    latest.write_bytes(latest.read_bytes()[:-100])
    assert run.train(config_of(), tmp_path)['sha256'] == unbroken[1]['sha256']
    assert 'is damaged' in caplog.text
    assert 'restore' not in caplog.text  # nothing need be done
    assert lines(tmp_path) == lines(unbroken[0])


def test_the_checkpoints_of_another_run_are_not_taken(unbroken, tmp_path):
    shutil.copytree(unbroken[0], tmp_path / 'run')
    (tmp_path / 'run' / 'run_id').write_text('ab' * 16)
    with pytest.raises(UserError, match='Every checkpoint'):
        evaluation.evaluate(tmp_path / 'run', 'test')


def test_a_run_without_its_identity_blames_no_checkpoint(unbroken, tmp_path):
    shutil.copytree(unbroken[0], tmp_path / 'run')
    (tmp_path / 'run' / 'run_id').unlink()
    with pytest.raises(UserError, match=r'run_id is missing, .*: restore it from a copy'):
        evaluation.evaluate(tmp_path / 'run', 'test')


@pytest.mark.parametrize('damage', [pathlib.Path.unlink, lambda path: path.write_bytes(b'x')])
def test_a_damaged_best_checkpoint_is_one_sentence_with_one_remedy(tmp_path, damage):
    config = config_of(schedule__rate=0.5, train__length='30 epochs', train__patience=2)
    best = run.train(config, tmp_path)
    damage(tmp_path / 'checkpoints' / f'{best["step"]}.npz')
    with pytest.raises(UserError, match='and it is the best checkpoint: restore') as caught:
        evaluation.evaluate(tmp_path, 'test')
    assert str(caught.value).count('restore') == 1


def test_the_log_of_another_run_is_noticed(unbroken, tmp_path):
    shutil.copytree(unbroken[0], tmp_path / 'run')
    workdir = Workdir(tmp_path / 'run')
    first, *rest = workdirs.read_metrics(workdir)
    workdirs.write_metrics(workdir, [first | {'val_accuracy': 0.9}, *rest])
    with pytest.raises(UserError, match='lacks the lines'):
        evaluation.evaluate(tmp_path / 'run', 'test')


@pytest.mark.parametrize('kept', [0, 1])
@pytest.mark.parametrize('older', [False, True])
def test_a_log_without_the_lines_up_to_the_checkpoint_is_refused(
    tmp_path, monkeypatch, kept, older
):
    """Older checkpoints lack the hash of the log."""
    if older:
        monkeypatch.setattr(history, 'sha256', lambda lines: '')
    numpy_trainer.run(plan_of(), tmp_path, Logging(tmp_path))
    monkeypatch.undo()
    log = tmp_path / 'metrics.jsonl'
    written = log.read_text().splitlines(keepends=True)
    numpy_trainer.run(plan_of(), tmp_path, Logging(tmp_path))
    log.write_text(''.join(written[:kept]))
    with pytest.raises(UserError, match=r'metrics\.jsonl lacks the lines up to \d+\.npz: restore'):
        numpy_trainer.run(plan_of(), tmp_path, Logging(tmp_path))


def test_a_checkpoint_that_claims_to_be_far_larger_than_its_file_is_damaged(tmp_path, caplog):
    plan = plan_of()
    numpy_trainer.run(plan, tmp_path, Logging(tmp_path))
    latest = tmp_path / 'checkpoints' / f'{plan.total_steps}.npz'
    with np.load(latest) as archive:
        arrays = dict(archive)
    np.savez_compressed(latest, **arrays, zeros=np.zeros(10**7))
    watcher = Logging(tmp_path)
    numpy_trainer.run(plan_of(), tmp_path, watcher)
    assert watcher.began == plan.steps_per_epoch
    assert f'{latest} is damaged (it claims to hold far more than its size)' in caplog.text


def test_a_run_whose_checkpoints_are_all_damaged_is_one_sentence(tmp_path):
    run.train(config_of(train__length='1 epochs'), tmp_path)
    for path in (tmp_path / 'checkpoints').iterdir():
        path.write_bytes(b'')
    with pytest.raises(
        UserError, match=r'Every checkpoint in .* is damaged or of another run: restore'
    ):
        run.train(config_of(), tmp_path)


def test_early_stopping_chooses_the_lowest_validation_loss_and_resumes_to_nothing(tmp_path):
    # A rate this large spoils the weights, so that nothing gets better for long.
    config = config_of(schedule__rate=0.5, train__length='30 epochs', train__patience=2)
    summary = run.train(config, tmp_path)
    log = lines(tmp_path)
    best = min(log, key=lambda line: line['val_loss'])
    assert len(log) == best['epoch'] + 2 < 30
    assert summary['step'] == best['step']
    assert run.train(config, tmp_path)['sha256'] == summary['sha256']
    assert lines(tmp_path) == log
    assert evaluation.evaluate(tmp_path, 'validation')['sha256'] == summary['sha256']


def test_a_loss_that_is_not_finite_names_the_step_and_the_remedy(tmp_path):
    config = config_of(schedule__rate=1e38, optimizer__name='sgd', model__layers=PLAIN)
    with pytest.raises(UserError, match=r'^The loss of step \d+ is not finite: lower config.sche'):
        run.train(config, tmp_path)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('data__augment', "[{'name': 'translate', 'pixels': 2}]"),
        ('ema', 0.9),
        ('precision', 'bfloat16'),
        ('init_from', 'runs/other'),
        ('optimizer__clip_norm', 1.0),
        ('optimizer__groups', "[{'pattern': '*'}]"),
        ('checkpoint__every', '5 steps'),
        ('mesh__devices', 2),
        ('ops__backend', 'jax'),
        ('debug__nans', True),
    ],
)
def test_a_key_that_only_jax_honours_is_refused_with_its_value(key, value):
    message = refusal(**{key: value})
    assert message.startswith(f'config.{key.replace("__", ".")}=')
    assert 'is trained in NumPy: leave it at' in message


@pytest.mark.parametrize(
    ('overrides', 'sentence'),
    [
        ({'optimizer__name': 'adamw'}, 'The NumPy backend has no adamw'),
        ({'model__layer': '[]'}, "Network has no option 'layer': did you mean 'layers'?"),
        ({'model__layers': '3'}, 'Network needs config.model.layers, a list such as'),
        ({'model__layers': "[('dens', {})]"}, "Layer 1: there is no 'dens'; known: conv"),
        ({'model__layers': "[('dense', {'neuron': 1})]"}, "no option 'neuron'; known: neurons"),
        ({'model__layers': "[('dense', 3)]"}, "Layer 1 is ('dense', 3); it looks like"),
        ({'model__layers': "[('maxpool', {'padding': [[1, 0], [0, 0]]})]"}, "pads 'same' or"),
    ],
)
def test_a_mistake_in_the_config_is_one_sentence(overrides, sentence):
    assert sentence in refusal(**overrides)


@pytest.mark.parametrize(
    ('overrides', 'sentence'),
    [
        ({'model__layers': "[('reshape',), ('dense', {'neurons': 7})]"}, 'there are 10 classes'),
        ({'model__layers': "[('dense', {'neurons': 7})]"}, 'flatten them first'),
        ({'train__length': '3 steps'}, 'ends within an epoch'),
        ({'train__batch_size': 10**6}, 'use a smaller batch'),
    ],
)
def test_what_does_not_fit_the_data_is_one_sentence_and_leaves_no_workdir(
    tmp_path, overrides, sentence
):
    with pytest.raises(UserError, match=sentence):
        run.train(config_of(**overrides), tmp_path / 'w')
    assert not (tmp_path / 'w').exists()


def test_a_trace_of_jax_is_refused(tmp_path):
    with pytest.raises(UserError, match='python -m cProfile'):
        run.train(config_of(), tmp_path / 'w', profile=True)


@pytest.mark.parametrize(('variant', 'count'), [('experiment1', 6844), ('experiment2', 1603)])
def test_experiments_have_the_parameters_that_s0_published(variant, count):
    config = configs.load(f'{CONFIG}:{variant}')
    assert numpy_network.create(config, 10, (32, 32, 3)).parameters == count


EVERY_LAYER = [
    ('conv', {'depth': 4, 'groups': 2, 'padding': 'same', 'stride': (1, 2)}),
    ('batchnorm', {'momentum': 0.8}),
    ('activation', {'activation': 'tanh'}),
    ('maxpool', {'kernel_size': 3, 'stride': 2, 'padding': 'same'}),
    ('conv', {'depth': 5, 'kernel_size': (2, 1), 'padding': ((1, 0), (0, 1))}),
    ('avgpool',),
    ('dropblock', {'rate': 0.1, 'size': 2}),
    ('reshape', {'output_shape': (2, 1, 10)}),
    ('conv', {'depth': 6, 'kernel_size': 1}),
    ('globalavgpool',),
    ('dropout',),
    ('reshape',),
    ('dense', {'neurons': 3}),
    ('activation', {'activation': 'softmax'}),
]
CHAINS = {name: [('reshape',), ('activation', {'activation': name}), ('dense', {'neurons': 3})]
          for name in ACTIVATIONS}  # fmt: skip


@pytest.mark.parametrize('layers', [EVERY_LAYER, *CHAINS.values()], ids=['all', *CHAINS])
def test_the_flax_module_computes_the_logits_of_numpy(layers):
    network = Network(layers, (9, 12, 2), dtype=np.float64, show=False)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, 9, 12, 2))
    network.step(images, np.arange(5) % 3, 0.1, rng)  # moves statistics and biases
    with jax.enable_x64(True):
        twin = FlaxNetwork(tuple(layers), jnp.float64)
        variables = jax.tree.map(jnp.asarray, numpy_network.variables(network))
        logits = twin.apply(variables, jnp.asarray(images), train=False)
    np.testing.assert_allclose(logits, network.logits(images), rtol=1e-10)


def test_the_features_of_the_flax_module_are_what_its_last_dense_layer_reads():
    layers = (('conv', {'depth': 2}), ('reshape',), ('dense', {'neurons': 3}))
    network = Network(list(layers), (6, 6, 2), dtype=np.float32, show=False)
    twin = FlaxNetwork(layers)
    variables = jax.tree.map(jnp.asarray, numpy_network.variables(network))
    images = np.random.default_rng(0).normal(size=(4, 6, 6, 2)).astype(np.float32)
    features = twin.apply(variables, jnp.asarray(images), train=False, method='features')
    dense = variables['params'][head_name(twin)]
    np.testing.assert_allclose(
        features @ dense['kernel'] + dense['bias'][None],
        network.logits(images),
        rtol=1e-5,
        atol=1e-6,
    )


def test_without_a_dense_layer_at_its_end_the_features_of_the_flax_module_are_its_logits():
    twin, images = FlaxNetwork((('globalavgpool',),)), jnp.ones((2, 4, 4, 3))
    features = twin.apply({}, images, train=False, method='features')
    np.testing.assert_array_equal(features, twin.apply({}, images, train=False))


def test_the_modules_of_layers_are_named_after_their_places():
    twin, images = FlaxNetwork(tuple(EVERY_LAYER)), jnp.ones((1, 9, 12, 2))
    variables = jax.eval_shape(lambda: twin.init(jax.random.key(0), images, train=False))
    variables = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), variables)
    _, seen = twin.apply(variables, images, train=False, capture_intermediates=True)
    names = {name for name in seen['intermediates'] if name not in ('__call__', 'features')}
    assert names == {
        *('1-conv', '2-batchnorm', '5-conv', '7-dropblock', '9-conv', '11-dropout', '13-dense')
    }


def test_every_activation_has_a_twin():
    assert ACTIVATIONS.keys() == specs.ACTIVATIONS.keys()


@pytest.mark.parametrize('variant', ['experiment1', 'experiment2'])
def test_gradients_of_the_networks_of_s0_are_those_of_jax(variant):
    layers = numpy_network.layers(configs.load(f'{CONFIG}:{variant}'))
    config = config_of(model__layers=layers)
    result = report.check(config, images=2, with_differences=False)
    assert result['failures'] == []
    kinds = [row['kind'] for row in result['rows']]
    assert kinds.count('Conv') == int(variant[-1])
    assert {'Dense', ''} < {*kinds}
