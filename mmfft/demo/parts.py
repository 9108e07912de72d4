# Copyright (c) mmfft authors. All rights reserved.
"""The parts of the demo: their commands, and what is left to do of them."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmengine.config import Config

from . import CONFIGS
from .jobs import Job, times
from .report import add_result, read_results, remove_result

TITLES = dict(cls='classify', det='detect', seg='segment')
# The part from whose checkpoint the others start.
FIRST = 'cls'


class Demo:
    """The demo, or the longer one, below the current folder.

    Args:
        root (Path): The checkout, or ``mmfft/.mim`` of an installed package.
        name (str): Name of the demo, a key of :data:`CONFIGS`. Defaults to
            ``'demo'``.
    """

    def __init__(self, root: Path, name: str = 'demo') -> None:
        self.root = root
        self.parts = CONFIGS[name]
        self.work_dir = Path('work_dirs', name)
        self.results = self.work_dir / 'results.json'

    def from_here(self, path: str | Path) -> Path:
        """Path below ``root``, relative if the current folder contains it.

        Args:
            path (str | Path): Path relative to ``root``.
        """
        path, here = self.root / path, Path.cwd()
        return path.relative_to(here) if path.is_relative_to(here) else path

    def config(self, part: str) -> Path:
        """Path of a part's config.

        Args:
            part (str): Name of the part, ``'cls'``, ``'det'`` or ``'seg'``.
        """
        return self.from_here(Path('configs', 'demo', self.parts[part]))

    def plan(
        self, asked: Sequence[str], say: Callable[[str], None] = print
    ) -> list[list[str]]:
        """Find out what to train, and clear its place.

        What a killed call has begun is continued, and what it has finished
        is kept. If all is finished, it begins again; so does a part whose
        config, or that of the part it starts from, has changed. What it had
        is set aside, in a folder that ends with ``.before``.

        Args:
            asked (Sequence[str]): Names of the parts to train. The first one
                is added if another needs its checkpoint.
            say (Callable): Function that is called with a line for each part
                that does not begin afresh. Defaults to ``print``.

        Returns:
            list[list[str]]: Names of parts that can be trained at the same
            time, in lists of which one needs those before it.
        """
        parts = list(asked)
        if FIRST not in parts and self._needs_first(parts):
            parts.insert(0, FIRST)
        finished = [part for part in parts if self._is_finished(part)]
        if finished == parts:
            for part in parts:
                self._set_aside(part)
            titles = ', '.join(TITLES[part] for part in parts)
            say(
                f'{titles}: finished before; again from the beginning (the '
                'last results are in folders that end with .before)'
            )
            finished = []
        for part in parts:
            folder, title = self.work_dir / part, TITLES[part]
            if part in finished:
                say(f'{title}: finished before, and kept')
            elif self._has_other_settings(part):
                say(
                    f'{title}: {folder} is of another config, or of another '
                    f'version of it ({self._record(part).name}); it is now '
                    f'{_before(folder)}, and the part begins again'
                )
                self._set_aside(part)
            elif (folder / 'last_checkpoint').exists():
                say(f'{title}: goes on from the last checkpoint in {folder}')
        left = [part for part in parts if part not in finished]
        stages = [
            [part for part in left if part == FIRST],
            [part for part in left if part != FIRST],
        ]
        return [stage for stage in stages if stage]

    def job(self, part: str) -> Job:
        """Make the job that trains and tests a part.

        Args:
            part (str): Name of the part.
        """
        return Job(TITLES[part], self.work_dir / part, self._commands(part))

    def _commands(self, part: str) -> Iterator[list[str]]:
        folder, config = self.work_dir / part, self.config(part)
        folder.mkdir(parents=True, exist_ok=True)
        self._record(part).write_text(self._settings(part))
        place = ('--work-dir', folder)
        train = self.from_here('tools/train.py')
        # The test that follows is the validation.
        yield _texts(train, config, *place, '--resume', '--no-validate')
        checkpoint = (folder / 'last_checkpoint').read_text().strip()
        out, options = [folder / 'metrics.json'], []
        if part == 'seg':
            labels = f'test_evaluator.output_dir={folder / "labels"}'
            options = ['--cfg-options', labels]
        else:
            out.append(folder / 'predictions.pkl')
        test = self.from_here('tools/test.py')
        yield _texts(test, config, checkpoint, *place, '--out', *out, *options)
        metrics = json.loads(out[0].read_text())
        add_result(self.results, part, metrics, times(folder))

    def _needs_first(self, parts: list[str]) -> bool:
        starts = [
            Path(Config.fromfile(self.config(part)).checkpoint)
            for part in parts
        ]
        return not all(start.is_file() for start in starts) or (
            self._record(FIRST).exists() and self._has_other_settings(FIRST)
        )

    def _is_finished(self, part: str) -> bool:
        finished = read_results(self.results).get('commands', {})
        return part in finished and not self._has_other_settings(part)

    def _has_other_settings(self, part: str) -> bool:
        """Whether what is in a part's folder was trained with others."""
        if not (self.work_dir / part).exists():
            return False
        record = self._record(part)
        return not record.exists() or record.read_text() != self._settings(
            part
        )

    def _record(self, part: str) -> Path:
        return self.work_dir / part / 'started_with.json'

    def _settings(self, part: str) -> str:
        """Config of a part and of the one it starts from, to be compared."""
        settings = {
            self.parts[one]: Config.fromfile(self.config(one)).to_dict()
            for one in dict.fromkeys([FIRST, part])
        }
        return json.dumps(settings, indent=1, default=str)

    def _set_aside(self, part: str) -> None:
        remove_result(self.results, part)
        folder = self.work_dir / part
        shutil.rmtree(_before(folder), ignore_errors=True)
        if folder.exists():
            folder.rename(_before(folder))


def _before(folder: Path) -> Path:
    return folder.with_name(f'{folder.name}.before')


def _texts(*arguments: str | Path) -> list[str]:
    return [str(one) for one in arguments]
