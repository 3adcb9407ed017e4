"""The dtype of the computation on processors with and without bfloat16 instructions."""

import jax
import jax.numpy as jnp
import pytest

from cifar_jax.errors import UserError
from cifar_jax.training import precision


def dtype_on(monkeypatch, wanted, flags, backend='cpu'):
    monkeypatch.setattr(precision, 'processor_flags', lambda: frozenset(flags))
    monkeypatch.setattr(precision, 'processor', lambda: 'Abacus 2000')
    monkeypatch.setattr(jax, 'default_backend', lambda: backend)
    return precision.compute_dtype(wanted)


@pytest.mark.parametrize('flags', [(), ('avx2',), ('avx2', 'amx_bf16')])
def test_float32_is_computed_in_float32(monkeypatch, flags):
    assert dtype_on(monkeypatch, 'float32', flags) == (jnp.float32, '')


@pytest.mark.parametrize('flag', ['avx512_bf16', 'amx_bf16', 'bf16'])
def test_bfloat16_is_computed_where_the_processor_has_instructions_for_it(monkeypatch, flag):
    assert dtype_on(monkeypatch, 'bfloat16', ('avx2', flag)) == (jnp.bfloat16, '')


def test_a_processor_that_would_emulate_bfloat16_computes_in_float32_and_is_named(monkeypatch):
    dtype, remark = dtype_on(monkeypatch, 'bfloat16', ('avx2',))
    assert dtype == jnp.float32
    assert remark == (
        'precision: float32, since Abacus 2000 has no bfloat16 instructions and would emulate them'
    )


def test_an_accelerator_computes_in_bfloat16_whatever_the_processor(monkeypatch):
    assert dtype_on(monkeypatch, 'bfloat16', ('avx2',), 'gpu') == (jnp.bfloat16, '')


def test_another_precision_is_refused():
    precision.check('bfloat16')
    with pytest.raises(UserError, match="precision='float16' is not valid"):
        precision.check('float16')
