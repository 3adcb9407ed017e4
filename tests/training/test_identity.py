"""The identity of a run, by which it knows its own checkpoints."""

import pathlib

import pytest

from cifar_jax.training import identity


def test_a_folder_without_a_run_has_no_identity(tmp_path):
    assert identity.read(tmp_path) == ''


def test_a_run_gets_an_identity_and_keeps_it(tmp_path):
    created = identity.read_or_create(tmp_path)
    assert len(bytes.fromhex(created)) == 16
    assert identity.read(tmp_path) == identity.read_or_create(tmp_path) == created
    assert (tmp_path / 'run_id').read_text() == f'{created}\n'


def test_two_runs_have_two_identities(tmp_path):
    (tmp_path / 'other').mkdir()
    assert identity.read_or_create(tmp_path) != identity.read_or_create(tmp_path / 'other')


@pytest.mark.parametrize('content', [b'', b'ab', b'\xff' + b'a' * 31, b'a' * 33, b'A' * 32])
def test_a_damaged_identity_is_an_error(tmp_path, content):
    (tmp_path / 'run_id').write_bytes(content)
    with pytest.raises(identity.UnknownRunError, match='run_id is damaged, so that no checkpoint'):
        identity.read(tmp_path)


def test_an_identity_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError

    identity.read_or_create(tmp_path)
    monkeypatch.setattr(pathlib.Path, 'read_text', refuse)
    with pytest.raises(identity.UnknownRunError, match='run_id is damaged'):
        identity.read(tmp_path)


def test_of_a_huge_identity_only_the_beginning_is_read(tmp_path):
    created = identity.read_or_create(tmp_path)
    (tmp_path / 'run_id').write_text(created + ' ' * 68 + 'more')
    assert identity.read(tmp_path) == created
    (tmp_path / 'run_id').write_text(created + ' ' * 67 + 'more')
    with pytest.raises(identity.UnknownRunError):
        identity.read(tmp_path)


def test_a_checkpoint_of_the_run_or_without_an_identity_is_accepted(tmp_path):
    identity.check(tmp_path, identity.read_or_create(tmp_path))
    identity.check(tmp_path, None)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    identity.read_or_create(tmp_path)
    with pytest.raises(ValueError, match='it belongs to another run'):
        identity.check(tmp_path, 'ab' * 16)


def test_a_checkpoint_with_an_identity_is_refused_where_the_run_has_lost_its_own(tmp_path):
    with pytest.raises(identity.UnknownRunError, match='run_id is missing, so that no checkpoint'):
        identity.check(tmp_path, 'ab' * 16)
    identity.check(tmp_path, None)
