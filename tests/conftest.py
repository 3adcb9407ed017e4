"""Several fake devices, strict promotion, and annotations checked: before JAX starts."""

import os

import jax

jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')

# Subprocess tests start the commands as a user does, but must not share a user's cache.
os.environ.setdefault('CIFAR_JAX_CACHE', '')
