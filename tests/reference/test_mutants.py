"""Mutation tests: do the checks notice every small change to the reference's backward passes?

A mutant is a function with one change in its syntax tree. At least one check must fail for it, or
it is listed in `EQUIVALENT` with the reason why no check can. Layers of our Flax models are checked
by `gradcheck`'s comparison, the others by a comparison with JAX.
"""

import ast
import functools
import importlib
import inspect
import itertools
import pathlib
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import narrow_models
import numpy as np
import pytest
import reference_cases as cases

import cifar_jax.reference
from cifar_jax.reference import windows
from cifar_jax.reference.conv import Conv
from cifar_jax.reference.norm import BatchNorm

Check = Callable[[], Any]  # returns a true value if it detects an error
REFERENCE = pathlib.Path(cifar_jax.reference.__file__).parent


def gradcheck(name: str) -> Check:
    """Returns gradcheck's comparison for a narrow Flax model, without finite differences."""
    return lambda: narrow_models.recorded(name).failures()


def against_jax(make: Callable[[], list[cases.Case]]) -> Check:
    """Returns a check of cases against JAX, which computes each of them once."""
    pairs = functools.cache(lambda: [(case, cases.expected_from_jax(case)) for case in make()])
    return lambda: any(cases.failures(*pair) for pair in pairs())


def activation(kind: str) -> Check:
    """Returns a check of an activation against JAX's."""
    x = cases.normal(0, (5, 7, 6), np.float64, 4.0)
    return against_jax(
        lambda: [
            cases.Case(layer, lambda values, x, in_jax=in_jax: in_jax(x), (x,))
            for layer, in_jax in cases.ACTIVATIONS
            if type(layer).__name__ == kind
        ]
    )


@against_jax
def groups() -> list[cases.Case]:
    """A convolution with two groups, which no model has."""
    return [cases.conv_case(Conv(4, groups=2), cases.normal(0, (3, 4, 3, 4), float), 1)]


@against_jax
def unequal_strides() -> list[cases.Case]:
    """A convolution of wide images with unequal strides: no model has either."""
    return [cases.conv_case(Conv(2, (3, 2), (3, 1)), cases.normal(0, (2, 5, 7, 3), float), 1)]


@against_jax
def moving_statistics() -> list[cases.Case]:
    """Batch norm in evaluation mode, in which no model is differentiated."""
    x = cases.normal(0, (2, 3, 4, 5), np.float64)
    return [cases.batch_norm_case(BatchNorm(), x, 1, train=False)]


def losses() -> bool:
    """Checks the loss against JAX, with labels and logits that no model step produces."""
    weights = np.array([[1.0, 2.0, 0.5], [0.1, 0.0, 0.2]])
    huge = np.array([[1e4, -1e4, 0.0], [-1e4, 0.0, 1e4]])
    errors = [
        *cases.loss_errors(cases.normal(0, (2, 3), np.float64), weights, 0.0).values(),
        *cases.loss_errors(huge, np.array([1, 2]), 0.1).values(),
    ]
    return any(not error <= 1e-10 for error in errors)


# The checks of each function; one of them must fail for each mutant.
CHECKS: dict[str, tuple[Check, ...]] = {
    'activations.Activation.backward': (gradcheck('SmallVGG'),),
    'activations.ReLU.slope': (gradcheck('SmallVGG'),),
    'activations.ReLU6.slope': (activation('ReLU6'),),
    'activations.LeakyReLU.slope': (gradcheck('PlainCNN'),),
    'activations.Sigmoid.slope': (gradcheck('SENet'),),
    'activations.Tanh.slope': (activation('Tanh'),),
    'activations.SiLU.slope': (activation('SiLU'),),
    'activations.GELU.slope': (activation('GELU'),),
    'activations.GELU._phi': (activation('GELU'),),
    'activations.Softmax.backward': (activation('Softmax'),),
    'combine.Add.backward': (gradcheck('SENet'),),
    'combine.Concatenate.backward': (gradcheck('InceptionNet'),),
    'combine.Gate.backward': (gradcheck('SENet'),),
    'conv.Conv.backward': (gradcheck('SmallVGG'), groups),
    'conv.Conv._as_windows': (gradcheck('SmallVGG'),),
    'conv.Conv._split': (gradcheck('SmallVGG'),),
    'dense.Dense.backward': (gradcheck('SmallVGG'),),
    'dense.Reshape.backward': (gradcheck('SmallVGG'),),
    'dropout._Masked.backward': (gradcheck('PlainCNN'),),
    'graph.backward': (gradcheck('SENet'),),
    'layers.channel_sums': (gradcheck('PlainCNN'),),
    'losses.cross_entropy': (gradcheck('SmallVGG'), losses),
    'norm.BatchNorm.backward': (gradcheck('PlainCNN'), moving_statistics),
    'norm._mean': (gradcheck('PlainCNN'),),
    'pool.MaxPool.backward': (gradcheck('SmallVGG'),),
    'pool.MaxPool._shares': (gradcheck('SmallVGG'), gradcheck('InceptionNet')),
    'pool.AvgPool.backward': (gradcheck('SENet'),),
    'pool.GlobalAvgPool.backward': (gradcheck('SENet'),),
    'windows.scatter': (gradcheck('SENet'), unequal_strides),
}

# Mutants that no check can detect, by function and changed statement, with the reason.
EQUIVALENT: dict[tuple[str, str], str] = {
    (
        'pool.MaxPool._shares',
        "return __import__('jax').tree.map(lambda a: -a, np.moveaxis(shares, 0, axis))",
    ): 'forward multiplies the shares of columns by those of rows, so the two signs cancel',
}


class Mutant(NamedTuple):
    """A changed function, and the statement that was changed."""

    statement: str
    code: types.CodeType


def definitions(module: str) -> dict[str, ast.FunctionDef]:
    """Returns the functions and methods of a module of the reference, by qualified name."""
    functions = {}
    for node in ast.parse((REFERENCE / f'{module}.py').read_text()).body:
        prefix, body = module, [node]
        if isinstance(node, ast.ClassDef):
            prefix, body = f'{module}.{node.name}', node.body
        functions |= {f'{prefix}.{f.name}': f for f in body if isinstance(f, ast.FunctionDef)}
    return functions


def function_of(name: str) -> types.FunctionType:
    """Returns a function of the reference, without jaxtyping's wrapper."""
    module, *path = name.split('.')
    imported = importlib.import_module(f'cifar_jax.reference.{module}')
    return inspect.unwrap(functools.reduce(getattr, path, imported))


def mutants(name: str) -> Iterator[Mutant]:
    """Yields all mutants of a function."""
    definition = definitions(name.split('.')[0])[name]
    function = function_of(name)
    for holder, key, statement in list(_places(definition, definition)):
        before = holder[key]
        for after in _changes(before, definition):
            holder[key] = ast.copy_location(after, before)
            changed = after if before is statement else statement
            text = ast.unparse(ast.fix_missing_locations(changed)).splitlines()[0]
            yield Mutant(text, _compiled(definition, function))
            holder[key] = before


def _places(node: ast.AST, statement: ast.AST) -> Iterator[tuple[Any, Any, ast.AST]]:
    """Yields the container and key of each node below `node`, and the statement that it is in."""
    for field, value in ast.iter_fields(node):
        children = enumerate(value) if isinstance(value, list) else [(field, value)]
        for key, child in children:
            if isinstance(child, ast.AST) and not isinstance(child, ast.arguments):
                inside = child if isinstance(child, ast.stmt) else statement
                yield value if isinstance(value, list) else vars(node), key, inside
                yield from _places(child, inside)


def _compiled(definition: ast.FunctionDef, function: types.FunctionType) -> types.CodeType:
    module = ast.Module([definition], [])
    namespace: dict[str, Any] = {}
    exec(
        compile(ast.fix_missing_locations(module), '<mutant>', 'exec'),
        function.__globals__,
        namespace,
    )
    return namespace[definition.name].__code__


def _changes(node: ast.AST, definition: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yields the nodes to replace a node with, one at a time."""
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub() as operation, right):
            flipped = ast.Sub() if isinstance(operation, ast.Add) else ast.Add()
            yield ast.BinOp(left, flipped, right)
            yield left
            yield right if isinstance(operation, ast.Add) else ast.UnaryOp(ast.USub(), right)
        case ast.BinOp(left, ast.Mult() | ast.MatMult() | ast.BitAnd(), right):
            yield left
            yield right
        case ast.BinOp(left, ast.Div(), right):
            yield left
            yield ast.BinOp(ast.Constant(1), ast.Div(), right)
        case ast.BinOp(left, ast.Pow()):
            yield left
        case ast.UnaryOp(ast.USub(), operand):
            yield operand
        case ast.AugAssign(target, operation, value):
            yield ast.Assign([target], value)
            opposite = ast.Sub() if isinstance(operation, ast.Add) else ast.Div()
            yield ast.AugAssign(target, opposite, value)
        case ast.Attribute(value, 'T'):
            yield value
        case ast.Call(ast.Attribute(value, 'swapaxes' | 'transpose' | 'sum' | 'mean')):
            yield value
        case ast.Subscript(value, ast.Constant(int() as index)):
            yield ast.Subscript(value, ast.Constant(1 - index), node.ctx)
        case ast.Subscript(value, ast.Tuple(parts)):
            names = [place for place, part in enumerate(parts) if isinstance(part, ast.Name)]
            for one, other in itertools.combinations(names, 2):
                swapped = list(parts)
                swapped[one], swapped[other] = parts[other], parts[one]
                yield ast.Subscript(value, ast.Tuple(swapped, ast.Load()), node.ctx)
        case ast.Return(value):
            for negated in _negated_leaves(value):
                yield ast.Return(negated)
        case ast.Assign([ast.Name(name)] as targets, ast.Dict() as value):
            if name in _returned(definition):
                for negated in _negated_leaves(value):
                    yield ast.Assign(targets, negated)
        case ast.Assign([ast.Subscript(ast.Name(name))] as targets, value):
            if name in _returned(definition):
                yield ast.Assign(targets, _negated(value))


def _negated_leaves(value: ast.expr) -> Iterator[ast.expr]:
    """Yields an expression with one of the arrays in its value negated."""
    match value:
        case ast.Tuple(parts):
            for place, part in enumerate(parts):
                for negated in _negated_leaves(part):
                    yield ast.Tuple([*parts[:place], negated, *parts[place + 1 :]], ast.Load())
        case ast.Dict(keys, values):
            for place, part in enumerate(values):
                changed = [*values[:place], _negated(part), *values[place + 1 :]]
                yield ast.Dict(keys, changed)
        case _:
            yield _negated(value)


def _negated(value: ast.expr) -> ast.expr:
    """Returns an expression that negates an array, or every array of a tree."""
    call = ast.parse("__import__('jax').tree.map(lambda a: -a, 0)", mode='eval').body
    assert isinstance(call, ast.Call)
    call.args[1] = value
    return call


def _returned(definition: ast.FunctionDef) -> set[str]:
    """Returns the names in a function's return values."""
    returns = (node for node in ast.walk(definition) if isinstance(node, ast.Return))
    inside = itertools.chain.from_iterable(map(ast.walk, returns))
    return {node.id for node in inside if isinstance(node, ast.Name)}


def detects_error(check: Check) -> bool:
    """Returns whether a check detects an error, which includes raising an exception."""
    try:
        return bool(check())
    except Exception:
        return True


@pytest.mark.parametrize('name', CHECKS)
def test_every_mutant_is_detected(name, monkeypatch):
    # Chunks of one image, so that sums over chunks have more than one term.
    monkeypatch.setattr(windows, 'CHUNK_BYTES', 1)
    function, checks = function_of(name), CHECKS[name]
    for check in checks:
        assert not check()
    all_mutants = list(mutants(name))
    assert all_mutants
    survivors = set()
    for mutant in all_mutants:
        with monkeypatch.context() as patch:
            patch.setattr(function, '__code__', mutant.code)
            if not any(map(detects_error, checks)):
                survivors.add(mutant.statement)
    assert survivors == {statement for owner, statement in EQUIVALENT if owner == name}


def test_every_backward_pass_has_a_check():
    backward_passes = set()
    for path in REFERENCE.glob('*.py'):
        for name, definition in definitions(path.stem).items():
            abstract = any(isinstance(node, ast.Raise) for node in definition.body)
            if definition.name in ('backward', 'slope') and not abstract:
                backward_passes.add(name)
    assert len(backward_passes) > 20
    assert backward_passes <= CHECKS.keys()
