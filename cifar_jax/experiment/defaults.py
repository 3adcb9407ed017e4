"""Every hyper-parameter there is, with its default: a config file changes what it needs."""

from ml_collections import ConfigDict


def get_defaults() -> ConfigDict:
    """Returns a fresh, complete config; `configs/*.py` start from it.

    A duration is an int (steps) or a string: '500 steps', '8 epochs', '10%' (of the run).
    An empty string switches the thing off.
    """
    return ConfigDict(
        dict(
            seed=0,
            data=dict(
                # A name in cifar_jax.data.sources.SOURCES, 'archive:PATH', 'folder:PATH' (class
                # folders of images) or 'tfds:NAME' (of tensorflow-datasets' catalogue).
                source='cifar10',
                dir='~/tensorflow_datasets',  # where prepared sets live, as TFDS has it
                labels='fine',  # cifar100: 'fine' (100 classes) or 'coarse' (20)
                image_size=0,  # height and width to resize to; 0: the set's own, 32 for a folder
                damaged='stop',  # folder: 'stop' at an image that cannot be read, or 'skip' it
                draw='names',  # folder: draw test and validation images by 'names', or by 'count'
                classes=0,  # keep only the first k classes; 0 keeps all
                fraction=1.0,  # keep a stratified share of every split
                validation='stratified',  # 'stratified', 'last', 'random' or 'none'
                validation_fraction=0.2,
                split_seed=0,  # not `seed`: runs of all seeds share their validation images
                memory_gb=4.0,  # refuse a set whose decoded images are larger than this
                normalize='channel',  # 'scale', 'given', 'channel', 'pixel', 'center' or 'zca'
                mean=(0.5, 0.5, 0.5),  # of 'given', for pixels in [0, 1]
                std=(0.5, 0.5, 0.5),
                zca_epsilon=1e-6,  # of 'zca': added to the variances, for pixels in [0, 1]
                augment=(),  # dicts: the name of one of cifar_jax.data.augment and its options
            ),
            # Weights to begin with: an .npz file, or 'WORKDIR' or 'WORKDIR:CHECKPOINT' of a run:
            # 'initial' (those it began with), 'chosen' (those it reports), 'best' or 'latest'.
            init_from='',
            init_rename=(),  # pairs of prefixes: of names there, and of names here
            init_skip=(),  # patterns of names to go without: fresh here, unused there
            # A name in cifar_jax.models.MODELS and its options; or 'Network', a list of `layers` as
            # cifar_jax.reference.specs has them, which NumPy alone trains.
            model=dict(name=''),
            precision='float32',  # or 'bfloat16': compute only, the state stays float32
            loss=dict(label_smoothing=0.0),
            optimizer=dict(
                name='sgd',  # 'sgd', 'adam' or 'adamw'
                momentum=0.9,  # sgd
                nesterov=True,  # sgd
                b1=0.9,  # adam, adamw
                b2=0.999,
                eps=1e-8,
                l2=0.0,  # sgd, adam: added to the gradient of every parameter
                weight_decay=0.0,  # adamw: decoupled from the gradient
                clip_norm=0.0,  # global gradient norm; 0 does not clip
                # Dicts of a path pattern and what is different for the parameters that it matches:
                # rate, l2 or weight_decay, frozen, frozen_statistics; see training/groups.py.
                groups=(),
            ),
            schedule=dict(
                name='constant',  # a name in cifar_jax.training.optimizers.SCHEDULES
                rate=0.1,  # the peak
                warmup='',  # a duration of linear warm-up from 0
                end=0.0,  # cosine, one_cycle: the last rate as a share of the peak
                decay=0.0,  # inverse_time: per step; step, exponential: the factor
                every='',  # exponential: the duration between factors
                at=(),  # step: the durations after which the factor applies
                peak=0.3,  # one_cycle: the share of the run that the rate rises in
                start=0.04,  # one_cycle: the first rate as a share of the peak
            ),
            ema=0.0,  # decay of the averaged weights and batch statistics; 0 is off
            train=dict(
                length='10 epochs',
                batch_size=128,
                patience=0,  # evaluations without a better one before stopping; 0 never stops early
                monitor='accuracy',  # validation 'accuracy' or 'loss': what "best" means
                select='last',  # the weights that the run reports: 'last' or 'best'
            ),
            eval_batch_size=500,
            checkpoint=dict(every='1 epochs'),
            mesh=dict(devices=0),  # CPU: how many virtual devices; 0 chooses
            ops=dict(backend='auto'),  # on a CPU: 'auto', 'onednn', 'jax' or 'xla' (ops/backend.py)
            log=dict(
                every=10,  # steps between progress updates
                tensorboard=True,
                pictures='50%',  # the duration between TensorBoard's pictures; '' draws none
            ),
            debug=dict(nans=False, no_jit=False),
        )
    )
