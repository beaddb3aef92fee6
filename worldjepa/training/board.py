"""TensorBoard's record of a run: the figures of ``metrics.jsonl`` again, so trouble with it ends no run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

logger = logging.getLogger(__name__)


class Board:
    """Writes into ``folder``; earlier records there from ``purge_step`` on no longer count (None: all do).

    The first ``OSError`` (a full disk) is logged; from then on every method does nothing.
    """

    def __init__(self, folder: Path, purge_step: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

        _hush_writer_threads()
        self._folder, self._writer = folder, None
        with self._trouble_is_logged():
            self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        if self._writer is not None:
            with self._trouble_is_logged():
                for name, value in metrics.items():
                    self._writer.add_scalar(name, value, step)
                self._writer.flush()

    def picture(self, step: int, name: str, image: UInt8[Tensor, "c y x"]) -> None:
        """Write a picture."""
        if self._writer is not None:
            with self._trouble_is_logged():
                self._writer.add_image(name, image.cpu(), step)
                self._writer.flush()

    def close(self) -> None:
        """Finish the file; twice is harmless."""
        if self._writer is not None:
            with self._trouble_is_logged():
                self._writer.close()

    @contextmanager
    def _trouble_is_logged(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            logger.warning(
                "TensorBoard's record in %s ends here (%s); the run goes on, and so does metrics.jsonl",
                self._folder,
                error.strerror or error,
            )


def _hush_writer_threads() -> None:
    """Print no traceback where TensorBoard's thread meets an ``OSError``: its next caller is told of it."""
    before = threading.excepthook
    if getattr(before, "__module__", None) == __name__:
        return

    def hook(args: threading.ExceptHookArgs) -> None:
        theirs = type(args.thread).__module__.startswith("tensorboard.")
        if not (theirs and isinstance(args.exc_value, OSError)):
            before(args)

    threading.excepthook = hook
