"""All hyper-parameters with their defaults; a config file changes those it needs."""

from ml_collections import ConfigDict


def get_defaults() -> ConfigDict:
    """Returns a new config with every key, from which `configs/*.py` start.

    A duration is a string: '500 steps', '8 epochs' or '10%' (of the run); an empty string switches
    its feature off.
    """
    return ConfigDict(
        dict(
            seed=0,
            data=dict(
                # A name in cifar_jax.data.sources.SOURCES, 'archive:PATH', 'folder:PATH' (class
                # folders of images), 'tfds:NAME' (of tensorflow-datasets' catalogue) or
                # 'features:PATH' (that cifar_jax.features has computed).
                source='cifar10',
                dir='~/tensorflow_datasets',  # of prepared sets, and of decoded images
                labels='fine',  # cifar100: 'fine' (100 classes) or 'coarse' (20)
                image_size=0,  # resize to this height and width; 0 keeps the set's (a folder: 32)
                resize='stretch',  # 'stretch', or keep proportions: 'crop' or 'crop_bicubic'
                damaged='stop',  # folder: 'stop' at an image that cannot be read, or 'skip' it
                draw='names',  # folder: draw test and validation images by 'names', or by 'count'
                classes=0,  # use the first k classes only; 0 uses all
                fraction=1.0,  # use a stratified share of the training and of the test images
                validation='stratified',  # 'stratified', 'last', 'random' or 'none'
                validation_fraction=0.2,
                split_seed=0,  # apart from `seed`: all seeds share their validation images
                memory_gb=4.0,  # stream a set whose decoded images need more, in GiB
                buffer_gb=0.25,  # of streamed images, in GiB, which are read ahead of their use
                normalize='channel',  # 'scale', 'given', 'channel', 'pixel', 'center' or 'zca'
                mean=(0.5, 0.5, 0.5),  # for 'given': of pixels in [0, 1]
                std=(0.5, 0.5, 0.5),
                zca_epsilon=1e-6,  # for 'zca': added to the variances of pixels in [0, 1]
                augment=(),  # dicts of a name in cifar_jax.data.augment and its options
            ),
            # Weights to start from: an .npz file, a run's WORKDIR, or WORKDIR:CHECKPOINT, which is
            # 'initial' (the default), 'chosen' (those that the run reports), 'best' or 'latest'; or
            # 'imagenet' (published ones of the model), 'hf:OWNER/NAME' (of the Hugging Face Hub),
            # or a file of safetensors, Keras or PyTorch.
            init_from='',
            init_rename=(),  # pairs of prefixes: of names in that file, and of names here
            init_skip=(),  # patterns of names that are not loaded
            # A name in cifar_jax.models.MODELS and its options; or 'Network' and a list of `layers`
            # (cifar_jax/reference/specs.py), which is trained in NumPy.
            model=dict(name=''),
            precision='float32',  # of the computation: or 'bfloat16'; weights are float32 in both
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
                clip_norm=0.0,  # the largest global norm of the gradient; 0 does not clip
                # Dicts of a path pattern and what is different for the parameters that it matches:
                # rate, l2 or weight_decay, frozen, frozen_statistics; see training/groups.py.
                groups=(),
            ),
            schedule=dict(
                name='constant',  # a name in cifar_jax.training.optimizers.SCHEDULES
                rate=0.1,  # the peak
                warmup='',  # the duration of a linear warm-up from 0
                end=0.0,  # cosine, one_cycle: the last rate as a share of the peak
                decay=0.0,  # inverse_time: per step; step, exponential: the factor
                every='',  # exponential: the duration between factors
                at=(),  # step: the durations after which the factor applies
                peak=0.3,  # one_cycle: the share of the run in which the rate rises
                start=0.04,  # one_cycle: the first rate as a share of the peak
            ),
            ema=0.0,  # decay of the averaged weights and batch statistics; 0 is off
            train=dict(
                length='10 epochs',
                batch_size=128,
                accumulate=1,  # compute the gradient of a batch in so many parts, to save memory
                patience=0,  # stop after so many epochs without a better one; 0 never stops early
                monitor='accuracy',  # validation 'accuracy' or 'loss': which epoch is the best
                select='last',  # the epoch whose weights the run reports: 'last' or 'best'
            ),
            eval_batch_size=0,  # images at once; 0: 500 of up to 64x64 pixels, or fewer
            checkpoint=dict(every='1 epochs'),
            mesh=dict(
                devices=0,  # how many; 0 uses all, on a CPU a virtual one per core
                # Whether each device keeps only a part of the weights and the optimizer's state.
                shard_parameters=False,
            ),
            ops=dict(  # on a CPU; see ops/backend.py
                backend='auto',  # 'auto', 'onednn', 'jax' or 'xla'
                algorithm='auto',  # of convolutions: 'auto' or 'direct', without Winograd's
            ),
            log=dict(
                every=10,  # steps between progress updates
                tensorboard=True,
                pictures='50%',  # the duration between pictures in TensorBoard; '' draws none
            ),
            debug=dict(nans=False, no_jit=False),  # JAX's jax_debug_nans and jax_disable_jit
        )
    )
