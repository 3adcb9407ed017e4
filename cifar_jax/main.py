"""Train a model, or resume its run: python -m cifar_jax.main --config configs/senet.py."""

import argparse
import json
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cifar_jax.errors import UserError
from cifar_jax.experiment import console

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def parser() -> argparse.ArgumentParser:
    """Returns the command line; `--config.key=value` is left for the config."""
    parser = argparse.ArgumentParser(
        prog='python -m cifar_jax.main',
        description=__doc__,
        epilog='Any key of the config can be set: --config.seed=1 --config.data.dir=DIR. '
        'cifar_jax/experiment/defaults.py explains the keys.',
        allow_abbrev=False,
    )
    parser.add_argument('--config', required=True, metavar='FILE[:VARIANT]')
    parser.add_argument('--workdir', type=console.is_path, help='default: runs/<config>')
    parser.add_argument(
        '--extend',
        action='store_true',
        help='lengthen a run although its schedule or DropBlock spans the whole run',
    )
    parser.add_argument('--profile', action='store_true', help='write a trace of a few steps')
    parser.add_argument(
        *('--dry_run', '--dry-run'),
        action='store_true',
        help='print the memory that the run needs and how fast it can be, and write nothing',
    )
    parser.add_argument(
        '--device', metavar='NAME', help='of a dry run: H100, A100, V100, v4, v5e, v5p, v6e or cpu'
    )
    for option in ('--images', '--classes'):
        parser.add_argument(
            option,
            type=console.count,
            metavar='N',
            help=f'of a dry run: the number of {option[2:]} of a data set that is not here',
        )
    group = parser.add_argument_group(
        'several processes', 'on a TPU pod, SLURM and Open MPI these need not be given'
    )
    group.add_argument('--coordinator', default='', metavar='HOST:PORT', help='of process 0')
    group.add_argument('--processes', type=int, default=0, metavar='N', help='how many there are')
    group.add_argument(
        '--process_id', type=int, default=-1, metavar='I', help='of this one, from 0'
    )
    parser.add_argument('--json', action='store_true', help='print a JSON object on the last line')
    return parser


@console.mistakes_as_sentences()
@console.exit_on_sigterm()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one sentence and status 1.

    A run that SIGTERM or Ctrl-C has stopped ends with a status of `console.STATUS`.
    """
    args, overrides = parser().parse_known_args(arguments)
    _check_dry_run(args)
    console.show_log()
    from cifar_jax.experiment import config as configs

    config = configs.load(args.config, overrides)
    if args.dry_run:
        _dry_run(config, args)
        return
    # JAX is loaded after the arguments are known to be right.
    from cifar_jax.experiment.run import train
    from cifar_jax.training import processes

    processes.connect(args.coordinator, args.processes, args.process_id)
    folder = args.workdir or pathlib.Path('runs') / configs.name(args.config)
    summary = train(
        config,
        folder,
        command=console.command_line('cifar_jax.main', arguments),
        profile=args.profile,
        extend=args.extend,
        draw=_draw,
    )
    processes.finished()
    if args.json:
        print(json.dumps(summary))
    sys.exit(0 if summary['finished'] else console.STATUS[summary['signal']])


def _check_dry_run(args: argparse.Namespace) -> None:
    for option in ('device', 'images', 'classes'):
        if getattr(args, option) and not args.dry_run:
            raise UserError(f'--{option} is for estimates: add --dry_run.')
    if bool(args.images) != bool(args.classes):
        raise UserError('--images and --classes describe a data set together: give both.')


def _dry_run(config: 'ConfigDict', args: argparse.Namespace) -> None:
    from cifar_jax.data import outline
    from cifar_jax.experiment import dry_run

    assumed = args.images and outline.assumed(args.images, args.classes, config.data)
    result = dry_run.estimate(config, args.device or 'cpu', assumed)
    dry_run.show(result)
    if args.json:
        print(json.dumps(result))


def _draw(*run: Any) -> Iterable[Any]:
    from cifar_jax.reporting import live  # and with it matplotlib

    return live.draw_run(*run)


if __name__ == '__main__':
    main()
