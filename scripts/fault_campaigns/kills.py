"""Killed at random moments and started again, a run ends with the bits of an unbroken one."""

import pathlib
import random
import shutil
import struct
from collections.abc import Iterator

from fault_campaigns import phases, processes, runs
from fault_campaigns.judge import Verdict, judge


def case(reference: runs.Reference, scratch: pathlib.Path, seed: int) -> Verdict:
    """Kills a run one to three times, lets it end, and compares it with the reference."""
    generator = random.Random(seed)
    workdir = scratch / 'workdir'
    shutil.rmtree(scratch, ignore_errors=True)
    arguments = reference.kind.arguments(workdir)
    kills = phases.kill(
        lambda due: processes.run('main', arguments, scratch / 'output', kill_when=due),
        lambda began: phases.phase(workdir, began, len(reference.lines)),
        workdir,
        generator,
        reference.seconds,
    )
    outcome = processes.run('main', arguments, scratch / 'output')
    return _compare(reference, workdir, outcome)._replace(kills=kills)


def _compare(
    reference: runs.Reference, workdir: pathlib.Path, outcome: processes.Outcome
) -> Verdict:
    verdict = judge(outcome, reference.expected)
    if verdict.kind != 'right':
        # Nothing was damaged: here a refusal is a fault too.
        return Verdict(f'not continued: {verdict.kind}', verdict.detail or outcome.errors[-200:])
    if runs.lines(workdir) != reference.lines:
        return Verdict('silently wrong', 'metrics.jsonl differs')
    shown = event_steps(workdir)
    if shown != event_steps(reference.workdir):
        return Verdict('silently wrong', f'TensorBoard shows {shown}'[:300])
    left = [path.name for path in workdir.rglob('*.tmp*')]
    return Verdict('silently wrong', f'left behind: {left}') if left else Verdict('right')


def event_steps(workdir: pathlib.Path) -> dict[str, list[int]]:
    """Returns the steps at which TensorBoard shows each scalar and picture, in the files' order.

    A session that starts at a step drops the events from that step on of the files before it.
    """
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    shown: list[tuple[str, int]] = []
    for path in sorted((workdir / 'tensorboard').glob('events.*')):
        for record in records(path.read_bytes()):
            event = Event.FromString(record)
            if event.session_log.status == SessionLog.START:
                shown = [(tag, step) for tag, step in shown if step < event.step]
            shown += [(value.tag, event.step) for value in event.summary.value]
    tags = sorted({tag for tag, _ in shown})
    return {tag: [step for own, step in shown if own == tag] for tag in tags}


def records(content: bytes) -> Iterator[bytes]:
    """Yields the complete records of a TFRecord file: length, checksum, data, checksum."""
    place = 0
    while place + 12 <= len(content):
        (length,) = struct.unpack_from('<Q', content, place)
        record = content[place + 12 : place + 12 + length]
        if len(record) < length:
            return
        yield record
        place += 16 + length


def full_disk_case(reference: runs.Reference, scratch: pathlib.Path, seed: int) -> Verdict:
    """Lets writing fail at a size, as on a full disk, and then lets the run end.

    The failing start ends in a sentence, or well; the next one ends with the reference's bits.
    """
    generator = random.Random(seed)
    workdir = scratch / 'workdir'
    shutil.rmtree(scratch, ignore_errors=True)
    arguments = reference.kind.arguments(workdir)
    largest = int(10 ** generator.uniform(2, 5.5))
    outcome = processes.run('main', arguments, scratch / 'output', largest_file=largest)
    verdict = judge(outcome, reference.expected)
    if verdict.fault:
        return Verdict(verdict.kind, f'{largest} bytes: {verdict.detail}')
    outcome = processes.run('main', arguments, scratch / 'output')
    verdict = judge(outcome, reference.expected)
    left = [path.name for path in workdir.rglob('*.tmp*')]
    if verdict.kind == 'right' and left:
        verdict = Verdict('left behind', str(left))
    kind = verdict.kind if verdict.kind != 'refused' else 'not continued'
    return Verdict(kind, f'{largest} bytes: {verdict.detail}')
