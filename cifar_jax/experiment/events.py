"""TensorBoard's events of a run, written before the checkpoint that they belong to."""

import os
import pathlib
import time
from typing import Any


class Events:
    """A file of events in a folder, next to those of earlier starts of the same run.

    tensorboardX's own SummaryWriter writes in a thread: what is still in its queue when a run is
    killed is missing for ever, since the run resumes behind it, and a full disk is a traceback.

    Args:
      folder: TensorBoard's, made where it is missing.
      step: where the run starts or resumes. TensorBoard then drops the events of later steps from
        earlier files: the run computes these steps again.
    """

    def __init__(self, folder: pathlib.Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        # tensorboardX counts seconds: a start within the same one must not replace the file.
        self._writer = EventsWriter(str(folder / 'events'), f'.{time.time_ns()}.{os.getpid()}')
        log = SessionLog(status=SessionLog.START)
        self._writer.write_event(Event(wall_time=time.time(), step=step + 1, session_log=log))

    def add_scalar(self, tag: str, value: int | float, step: int) -> None:
        """Adds a number."""
        from tensorboardX.summary import scalar

        self._add(scalar(tag, value), step)

    def add_figure(self, tag: str, figure: Any, step: int) -> None:
        """Adds a picture of a matplotlib figure."""
        from tensorboardX.summary import image
        from tensorboardX.utils import figure_to_image

        self._add(image(tag, figure_to_image(figure, close=False)), step)

    def _add(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Waits until everything is on disk."""
        self._writer.flush()

    def close(self) -> None:
        """Writes what is left and closes the file."""
        self._writer.close()
