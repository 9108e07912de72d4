# Copyright (c) mmfft authors. All rights reserved.
"""Predict for all sources, one after the other."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from ..engine.console import interrupt_behind, terminable
from ..errors import ConfigError
from ..runtime.drawing import draw
from ..runtime.prediction import Prediction
from .coco import CocoPredictions
from .output import Output
from .reading import UnreadableError
from .sources import Source, Video, VideoSource


class Model(Protocol):
    """What predicts: a :class:`.ToolboxModel` or an ONNX file."""

    classes: tuple[str, ...]

    def predict_file(self, path) -> tuple[np.ndarray, Prediction]:
        """Predict for a file."""

    def predict_frame(self, frame: np.ndarray) -> Prediction:
        """Predict for an image in memory, RGB uint8."""


class Run:
    """Predictions for pictures and videos: printed, drawn and collected.

    Args:
        model (Model): What predicts.
        output (Output): Where pictures and predictions are saved.
        predictions (CocoPredictions): What predictions are added to.
        score_thr (float): Lowest score of an object that counts. Defaults to
            0.3.
        every (int): Of a video, every how many frames one is predicted.
            Defaults to 1.
        max_frames (int, optional): Largest number of frames predicted of
            each video. Defaults to all.
    """

    def __init__(
        self,
        model: Model,
        output: Output,
        predictions: CocoPredictions,
        score_thr: float = 0.3,
        every: int = 1,
        max_frames: int | None = None,
    ) -> None:
        self.model = model
        self.output = output
        self.predictions = predictions
        self.score_thr = score_thr
        self.every = every
        self.max_frames = max_frames
        self._seconds = 0.0

    def __call__(self, sources: Sequence[Source]) -> dict[str, str]:
        """Predict for sources, with a progress bar in a terminal.

        What was predicted before an error or an interruption is saved.

        Args:
            sources (Sequence[Source]): What to predict for.

        Returns:
            dict[str, str]: Why a source could not be read, by its name.

        Raises:
            ConfigError: If no source can be read.
        """
        unreadable = {}
        start = time.monotonic()
        try:
            with terminable(), _bar() as bar:
                task = bar.add_task('', total=len(sources))
                for source in sources:
                    bar.update(task, description=source.name)
                    if reason := self._predict(source, bar):
                        unreadable[source.name] = reason
                    bar.advance(task)
        except BaseException as error:
            if stop := interrupt_behind(error):
                stop.args = (f'after {self.summary()}',)
            raise
        finally:
            self._seconds = time.monotonic() - start
            if len(self.predictions) and self.output.saves_json:
                self.output.save_json(self.predictions)
        if not len(self.predictions):
            raise ConfigError('\n'.join(unreadable.values()))
        return unreadable

    def summary(self) -> str:
        """Say how much was predicted, how fast, and where it is."""
        count = len(self.predictions)
        text = f'{count} picture{"s" * (count != 1)}'
        if self._seconds:
            text += f' ({count / self._seconds:.1f} a second)'
        output = self.output
        saved = []
        if count and output.saves_pictures:
            saved.append(str(output.pictures))
        if count and output.saves_json:
            saved.append(str(output.json))
        return f'{text}; see {" and ".join(saved)}' if saved else text

    def _predict(self, source: Source, bar: Progress) -> str | None:
        """Predict for a source, or return why it cannot be read."""
        try:
            if isinstance(source, VideoSource):
                video = source.open()
            else:
                image, prediction = self.model.predict_file(source.source)
        except UnreadableError as error:
            return str(error)
        if isinstance(source, VideoSource):
            with contextlib.closing(video):
                self._predict_video(video, bar)
            return None
        found = prediction.above(self.score_thr)
        if self.output.saves_pictures:
            picture = draw(image, found, self.score_thr)
            self.output.save_picture(source.name, picture)
        self.predictions.add(source.name, found)
        print(f'{source.name}: {found.describe(self.score_thr)}')
        return None

    def _predict_video(self, video: Video, bar: Progress) -> None:
        total = None if video.count is None else -(-video.count // self.every)
        if self.max_frames is not None:
            total = min(total or self.max_frames, self.max_frames)
        task = bar.add_task(f'frames of {video.name}', total=total)
        before = len(self.predictions)
        self.predictions.add_video(video.name, video.rate)
        # With fewer frames it is as long as the original.
        rate = video.rate / self.every
        with self.output.video(video.name, rate) as writer:
            for number, frame in self._frames(video):
                found = self.model.predict_frame(frame).above(self.score_thr)
                if self.output.saves_pictures:
                    writer.write(draw(frame, found, self.score_thr))
                self.predictions.add(video.name, found, number)
                bar.advance(task)
        bar.remove_task(task)
        print(f'{video.name}: {len(self.predictions) - before} frames')

    def _frames(self, video: Video) -> Iterator[tuple[int, np.ndarray]]:
        chosen = (
            (number, frame)
            for number, frame in video.frames()
            if number % self.every == 0
        )
        return islice(chosen, self.max_frames)


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn('{task.description}', markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        # Lines for a file or a pipe must not go to the terminal.
        redirect_stdout=sys.stdout.isatty(),
    )
