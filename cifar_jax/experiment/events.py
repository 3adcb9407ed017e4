"""TensorBoard event files, written synchronously."""

import os
import pathlib
import time
from typing import Any


class Events:
    """An event file in a folder, next to those of earlier starts of the same run.

    tensorboardX's SummaryWriter writes in a thread: events in its queue are lost if the run is
    killed, since the run resumes after them, and a full disk ends in a traceback.

    Args:
      folder: TensorBoard's folder; created if missing.
      step: the step at which the run starts or resumes. TensorBoard then drops the events of later
        steps from earlier files, since the run computes these steps again.
    """

    def __init__(self, folder: pathlib.Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        # tensorboardX names files by the second; a second start within it must not replace the
        # file.
        self._writer = EventsWriter(str(folder / 'events'), f'.{time.time_ns()}.{os.getpid()}')
        log = SessionLog(status=SessionLog.START)
        self._writer.write_event(Event(wall_time=time.time(), step=step + 1, session_log=log))

    def add_scalar(self, tag: str, value: int | float, step: int) -> None:
        """Adds a number."""
        from tensorboardX.summary import scalar

        self._add(scalar(tag, value), step)

    def add_figure(self, tag: str, figure: Any, step: int) -> None:
        """Adds a matplotlib figure as an image."""
        from tensorboardX.summary import image
        from tensorboardX.utils import figure_to_image

        self._add(image(tag, figure_to_image(figure, close=False)), step)

    def _add(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Writes all events to disk."""
        self._writer.flush()

    def close(self) -> None:
        """Writes the remaining events and closes the file."""
        self._writer.close()
