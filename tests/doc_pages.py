# Copyright (c) mmfft authors. All rights reserved.
"""Pages of docs/ as a reader walks them: each block, in order, in a folder."""

import io
import re
import shlex
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

# One epoch on four pictures, without workers.
SHORT_TRAINING = [
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=2',
    'train_dataloader.dataset.indices=4',
    *(
        f'{split}_dataloader.{key}'
        for split in ('train', 'val', 'test')
        for key in ('num_workers=0', 'persistent_workers=False')
    ),
]
_FENCE = re.compile(r'^```(\S*)\n(.*?)^```$', re.S | re.M)
_NUMBER = re.compile(r'-?\d+(\.\d+)?(e[-+]?\d+)?')
_ASSIGNMENT = re.compile(
    r'(?P<name>\w+)=\$\(python -c "(?P<code>.*?)"\)(?P<rest>\S*)'
)
_ANSI = re.compile(r'\x1b\[[\d;]*m')


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str
    line: int


def blocks(text):
    """All fenced blocks of a page."""
    found = [
        Block(match[1], match[2], text.count('\n', 0, match.start()) + 1)
        for match in _FENCE.finditer(text)
    ]
    assert text.count('```') == 2 * len(found), 'a block that is not read'
    return found


def lines_of(text):
    """Lines of a block, those that go on joined."""
    return re.sub(r'\\\n *', '', text).splitlines()


def add_options(words, options):
    """Add ``--cfg-options`` to a command line."""
    if '--cfg-options' not in words:
        words = [*words, '--cfg-options']
    return [*words, *options]


def expand(words, folder):
    """Replace patterns by the files that they match, as a shell does."""
    found = []
    for word in words:
        matches = sorted(folder.glob(word)) if '*' in word else []
        found += [str(m.relative_to(folder)) for m in matches] or [word]
    return found


def run_python(words, folder, call_tool, call_module):
    """``python ...`` in this process, of a file or a module."""
    first, *words = expand(words, folder)
    try:
        if first == '-m':
            call_module(*words, cwd=folder)
        else:
            call_tool(folder / first, *words, cwd=folder)
    except SystemExit as stop:
        assert not stop.code, (first, *words)


def as_pattern(line):
    """What a line of output may look like: numbers are those of another run.

    ``...`` stands for anything.
    """
    parts = []
    for part in ' '.join(line.split()).split('...'):
        words = _NUMBER.sub('\0', part).split('\0')
        parts.append(_NUMBER.pattern.join(map(re.escape, words)))
    return re.compile('.*'.join(parts))


class Walk:
    """Walks a page: runs each of its blocks as the page says.

    A block of ``bash`` is run line by line. One of ``python`` is saved if its
    first line is ``# name.py``, and else run with the names of those before.
    One of ``text`` is what the block before it prints, but for the numbers.
    Anything else is an error, so that no block is left out.

    Args:
        folder (Path): Empty folder.
        call_tool (Callable): Fixture.
        call_module (Callable): Fixture.
        shorten (Callable): Takes the words of a ``python`` command line, the
            word ``python`` left out, and returns those that are run. It is
            all in which the test differs from the page.
        stand_ins (dict[str, Callable]): What is called instead of programs
            that cannot be run here, with the folder and the other words.
    """

    def __init__(self, folder, call_tool, call_module, shorten, stand_ins):
        self.folder = folder
        self.call_tool = call_tool
        self.call_module = call_module
        self.shorten = shorten
        self.stand_ins = stand_ins
        self.variables = {}
        self.names = {'__name__': '__main__'}
        self.printed = ''

    def walk(self, text):
        """Run all blocks of a page."""
        for block in blocks(text):
            run = getattr(self, f'run_{block.language}', None)
            where = f'line {block.line}: ```{block.language}'
            assert run, f'{where}: nothing runs such a block'
            try:
                run(block.text)
            except Exception as error:
                raise AssertionError(
                    f'{where}\n{error}\n{self.printed[-2000:]}'
                ) from error

    def run_bash(self, text):
        self.printed = ''
        for line in lines_of(text):
            assigned = _ASSIGNMENT.fullmatch(line)
            if assigned:
                value = self._capture(exec, assigned['code'], {})
                self.variables[assigned['name']] = (
                    value.strip() + assigned['rest']
                )
                continue
            for name, value in self.variables.items():
                line = line.replace(f'${name}', value)
            self._run_words(shlex.split(line))

    def run_python(self, text):
        saved = re.match(r'# (\S+\.py)\n', text)
        if saved:
            (self.folder / saved[1]).write_text(text)
        else:
            self.printed = ''
            self._capture(exec, text, self.names)

    def run_text(self, text):
        printed = _ANSI.sub('', self.printed).replace('\r', '\n')
        rest = iter(' '.join(line.split()) for line in printed.splitlines())
        for line in text.splitlines():
            if line == '...':  # any number of lines, none too
                continue
            pattern = as_pattern(line)
            assert any(map(pattern.fullmatch, rest)), f'not printed: {line}'

    def _run_words(self, words):
        program, *words = words
        if program in self.stand_ins:
            self.stand_ins[program](self.folder, words)
        elif program == 'python':
            self._capture(
                run_python,
                self.shorten(words),
                self.folder,
                self.call_tool,
                self.call_module,
            )
        elif program == 'cd':
            self.folder = self.folder / words[0]
            assert self.folder.is_dir()
        else:
            result = subprocess.run(
                [program, *expand(words, self.folder)],
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            self.printed += result.stdout
            assert result.returncode == 0, f'exit status {result.returncode}'

    def _capture(self, call, *args):
        """Call it; returns what it prints."""
        said = io.StringIO()
        try:
            with redirect_stdout(said), redirect_stderr(said):
                call(*args)
        finally:
            self.printed += said.getvalue()
        return said.getvalue()
