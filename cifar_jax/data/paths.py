"""The paths in sources of data sets."""

from pathlib import Path

ON_DISK = ('archive', 'features', 'folder')  # sources whose argument is a path


def absolute(source: str) -> str:
    """Returns the source with the path of its folder or archive made absolute; '~' is kept.

    >>> absolute('digits'), absolute('folder:/pictures'), absolute('archive:~/cifar.tar.gz')
    ('digits', 'folder:/pictures', 'archive:~/cifar.tar.gz')
    """
    prefix, _, path = source.partition(':')
    if prefix not in ON_DISK or not path or path.startswith('~'):
        return source
    return f'{prefix}:{Path(path).absolute()}'
