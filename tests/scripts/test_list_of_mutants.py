"""The faults of scripts/mutants.py are still faults of the code as it is."""

import ast

import pytest

import mutants


@pytest.mark.parametrize('fault', mutants.FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_in_one_place_and_leaves_code_that_runs(fault):
    ast.parse(mutants.mutated(fault))
    assert (mutants.ROOT / 'tests' / fault.tests.split()[0]).is_file()
