"""Mutants of a module: its source with one node of its syntax tree changed."""

import ast
import collections
import copy
from collections.abc import Iterator
from typing import NamedTuple

_SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip


class Mutant(NamedTuple):
    """A node of a module, and what replaces it."""

    module: str
    line: str  # the whole line at which the node starts, without the spaces around it
    change: str  # 'before -> after'
    number: int  # tells equal changes of equal lines apart
    lines: tuple[int, int]  # the first and the last one of the node
    function: str  # the source of the function that the node is in, or the line outside of one
    source: str  # the changed module

    @property
    def name(self) -> str:
        """Returns what identifies the mutant as long as its line stays as it is."""
        return f'{self.module}: {self.line}: {self.change} #{self.number}'


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _without(items: list, position: int) -> list:
    return items[:position] + items[position + 1 :]


def _negated(test: ast.expr) -> ast.expr:
    return test.operand if isinstance(test, ast.UnaryOp) else ast.UnaryOp(ast.Not(), test)


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yields what may replace a node."""
    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                yield _with(node, ops=[*ops[:i], _SWAPS[type(op)](), *ops[i + 1 :]])
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in _SWAPS:
            yield _with(node, op=_SWAPS[type(op)]())
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.IfExp(test=test):
            yield _with(node, test=_negated(test))
        case ast.Call(keywords=keywords):
            for i in range(len(keywords)):
                yield _with(node, keywords=_without(keywords, i))
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Break() | ast.Continue():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _conditions(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    tests = [node.test] if isinstance(node, ast.If | ast.While | ast.Assert) else []
    tests += node.ifs if isinstance(node, ast.comprehension) else []
    for test in tests:
        if not (isinstance(test, ast.Compare) and len(test.ops) == 1):  # swapped anyway: < is <=
            yield test, _negated(test)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yields what runs: no annotations, no docstrings."""
    yield tree
    for name, value in ast.iter_fields(tree):
        if name in ('annotation', 'returns', 'type_comment', 'decorator_list'):
            continue
        for child in value if isinstance(value, list) else [value]:
            text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if isinstance(child, ast.AST) and not text:
                yield from _nodes(child)


def _within_f_strings(tree: ast.AST) -> set[ast.AST]:
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    return {node for string in strings for node in ast.walk(string)}


def _functions(tree: ast.Module, lines: list[str]) -> dict[int, str]:
    """Returns the source of the outermost function or method around each line."""
    found: dict[int, str] = {}
    for node in ast.walk(tree):  # from the outside to the inside
        if isinstance(node, ast.FunctionDef):
            for line in range(node.lineno, node.end_lineno + 1):
                found.setdefault(line, ''.join(lines[node.lineno - 1 : node.end_lineno]))
    return found


def mutants(module: str, source: str) -> list[Mutant]:
    """Returns all mutants of a module's source, in the order of its nodes."""
    data, lines = source.encode(), source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    found, seen, tree = [], collections.Counter(), ast.parse(source)
    formatted, functions = _within_f_strings(tree), _functions(tree, lines)
    for node in _nodes(tree):
        pairs = [(node, changed) for changed in changes(node)] + list(_conditions(node))
        for old, new in pairs:
            start = starts[old.lineno - 1] + old.col_offset
            end = starts[old.end_lineno - 1] + old.end_col_offset
            before, after = ast.unparse(old), ast.unparse(new)
            text = after if isinstance(old, ast.stmt) else f'({after})'
            mutated = (data[:start] + text.encode() + data[end:]).decode()
            if old in formatted and not _compiles(mutated):  # a format's width takes no brackets
                continue
            line, change = lines[old.lineno - 1].strip(), f'{before} -> {after}'
            number = seen[line, change]
            seen[line, change] += 1
            span = (old.lineno, old.end_lineno)
            around = functions.get(old.lineno, line)
            found.append(Mutant(module, line, change, number, span, around, mutated))
    return found


def _compiles(source: str) -> bool:
    try:
        compile(source, '', 'exec')
    except SyntaxError:
        return False
    return True
