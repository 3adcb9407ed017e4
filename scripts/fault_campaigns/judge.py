"""What counts as a right answer, as a clear refusal, and as a fault of ours."""

import json
import re
from typing import Any, NamedTuple

from fault_campaigns.processes import Outcome

SENTENCE = re.compile(r'^cifar_jax: \S.*', re.MULTILINE)
# A command that takes an older checkpoint, or computes predictions again, says so.
SAID = re.compile(
    r'damaged|cannot be read|trying the one before|restored|differ|computed again|has not finished'
    r'|no predictions',
    re.IGNORECASE,
)


class Verdict(NamedTuple):
    """'right', 'refused' (in one sentence), 'said' (other numbers, with a warning), or a fault.

    kills: for each kill that found the command alive, what it was doing: see `phases`.
    """

    kind: str
    detail: str = ''
    kills: tuple[str, ...] = ()

    @property
    def fault(self) -> bool:
        """Whether the case shows a mistake of cifar_jax."""
        return self.kind not in ('right', 'refused', 'said')


def judge(outcome: Outcome, expected: dict[str, Any] | None = None) -> Verdict:
    """Judges a command that ended with --json.

    Args:
      expected: keys and values that a successful command's last line must hold.
    """
    text = outcome.output + outcome.errors
    if outcome.hung:
        return Verdict('hang', f'{outcome.seconds:.0f} s')
    if outcome.code < 0:
        return Verdict('crash', f'signal {-outcome.code}')
    if 'Traceback (most recent call last)' in text:
        return Verdict('traceback', text.strip().rpartition('\n')[2][:200])
    if outcome.code:
        sentences = SENTENCE.findall(outcome.errors)
        usage = outcome.code == 2 and 'usage:' in outcome.errors
        if len(sentences) == 1 or usage:
            return Verdict('refused', sentences[0][:200] if sentences else 'usage')
        return Verdict('no sentence', outcome.errors[-200:])
    try:
        result = json.loads(outcome.last_line, parse_constant=_refuse)
    except ValueError:
        return Verdict('no JSON', outcome.last_line[:200])
    differing = {
        key: (result.get(key), value)
        for key, value in (expected or {}).items()
        if result.get(key) != value
    }
    if differing and SAID.search(text):
        return Verdict('said', str(differing)[:200])
    return Verdict('silently wrong', str(differing)[:200]) if differing else Verdict('right')


def _refuse(name: str) -> None:
    raise ValueError(f'{name} is not JSON')
