# Copyright (c) mmfft authors. All rights reserved.
"""What is installed, and how: requirements, wheel, `.mim`, install.sh."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import time
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmfft import lines

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ('tests', 'export', 'demo', 'vis', 'app')
UNSET = {'LINE': '', 'VENV': '', 'PYTHON': ''}
MIM_NAMES = ('configs', 'tools', 'model-index.yml', 'dataset-index.yml')


def read_requirements(path):
    lines = [line.split('#')[0].strip() for line in open(path)]
    return [Requirement(line) for line in lines if line]


def ranges():
    # gradio asks for an older Pillow than what is tested.
    pinned = [e for e in EXTRAS if e != 'app']
    files = ['requirements.txt', *(f'requirements/{e}.txt' for e in pinned)]
    return [r for file in files for r in read_requirements(ROOT / file)]


def pins(line='onedl'):
    folder = ROOT / 'requirements'
    tested = [
        requirement
        for file in ('tested.txt', f'{line}.txt')
        for requirement in read_requirements(folder / file)
    ]
    return {canonicalize_name(r.name): r for r in tested}


def copy_checkout(target):
    """Copies what makes the distribution, and what must not get into it."""
    ignore = shutil.ignore_patterns('__pycache__', '.mim', '*.egg-info')
    for name in ('mmfft', 'configs', 'tools', 'requirements', 'scripts'):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, target / name, ignore=ignore)
    for name in (
        'setup.py',
        'pyproject.toml',
        'MANIFEST.in',
        'LICENSE',
        'README.md',
        'requirements.txt',
        *MIM_NAMES[2:],
    ):
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, target / name)
    return target


# ------------------------------------------------------------- requirements


def test_ranges_have_no_upper_bound():
    for requirement in read_requirements(ROOT / 'requirements.txt'):
        for specifier in requirement.specifier:
            assert specifier.operator in ('>=', '!='), requirement


@pytest.mark.parametrize('line', ['onedl', 'upstream'])
def test_tested_set_is_exact(line):
    for requirement in pins(line).values():
        (specifier,) = requirement.specifier
        assert specifier.operator == '==', requirement
        assert '*' not in specifier.version, requirement


@pytest.mark.parametrize('requirement', ranges(), ids=str)
def test_pin_satisfies_range(requirement):
    pin = pins()[canonicalize_name(requirement.name)]
    (specifier,) = pin.specifier
    assert requirement.specifier.contains(specifier.version)


def test_each_line_is_whole_and_alone():
    for names in lines.DISTRIBUTIONS.values():
        for name, line in zip(names, ['onedl', 'upstream']):
            assert set(names) & set(pins(line)) == {name}


def test_both_builds_of_opencv_are_one_version():
    plain, headless = pins()['opencv-python'], pins()['opencv-python-headless']
    assert plain.specifier == headless.specifier


def test_ruff_is_the_same_everywhere():
    found = re.findall(
        r'ruff==([\d.]+)',
        ''.join(
            (ROOT / name).read_text()
            for name in (
                '.pre-commit-config.yaml',
                'requirements/tests.txt',
                'requirements/tested.txt',
            )
        ),
    )
    assert len(found) == 4
    assert len(set(found)) == 1


def test_nothing_names_an_index_or_a_machine():
    for path in ['requirements.txt', 'setup.py', 'scripts/install.sh']:
        text = (ROOT / path).read_text()
        assert not re.search(r'https?://|git\+|index-url|find-links', text)


# ------------------------------------------------------- wheel, sdist, links


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A checkout with things in it that tempt a build to go wrong."""
    root = copy_checkout(tmp_path_factory.mktemp('check out'))
    for name in ('configs', 'tools'):
        (root / name / '__pycache__').mkdir(parents=True, exist_ok=True)
        (root / name / '__pycache__' / 'x.cpython-311.pyc').touch()
        # Makes a package of it for anyone who looks for packages.
        (root / name / '__init__.py').touch()
        (root / name / 'sub').mkdir(exist_ok=True)
        (root / name / 'sub' / 'marker.py').write_text('a = 1\n')
    (root / 'model-index.yml').touch()
    return root


def build(checkout, hook, target):
    """Calls setuptools as pip does, without pip's isolation."""
    target.mkdir()
    # pip runs in a process of its own, and so does setuptools for it.
    code = (
        'import sys; from setuptools import build_meta; '
        f'print(build_meta.{hook}(sys.argv[1]))'
    )
    subprocess.run(
        [sys.executable, '-c', code, str(target)],
        cwd=checkout,
        check=True,
        capture_output=True,
    )
    (built,) = target.iterdir()
    return built


def mim_files(root):
    return {
        path.relative_to(root).as_posix()
        for name in MIM_NAMES
        for path in [root / name, *(root / name).rglob('*')]
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_wheel(checkout, tmp_path):
    pytest.importorskip('pip')
    # An editable install was there first: its links must survive.
    build(checkout, 'build_editable', tmp_path / 'editable')
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '-q']
    command += ['--no-build-isolation', '-w', str(tmp_path / 'wheel'), '.']
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    assert (checkout / 'mmfft' / '.mim' / 'configs').is_symlink()

    (built,) = (tmp_path / 'wheel').glob('mmfft-*.whl')
    with zipfile.ZipFile(built) as wheel:
        names = {name.split('/')[0] for name in wheel.namelist()}
        version = names - {'mmfft'}
        assert len(version) == 1
        assert version.pop().endswith('.dist-info')

        prefix = 'mmfft/.mim/'
        inside = [n for n in wheel.namelist() if n.startswith(prefix)]
        assert {n[len(prefix) :] for n in inside} == mim_files(checkout)
        for name in inside:
            mode = wheel.getinfo(name).external_attr >> 16
            assert stat.S_ISREG(mode), name
            source = checkout / name[len(prefix) :]
            assert wheel.read(name) == source.read_bytes()

        python = {n for n in wheel.namelist() if n.endswith('.py')}
        sources = {
            p.relative_to(checkout).as_posix()
            for p in (checkout / 'mmfft').rglob('*.py')
            if '.mim' not in p.parts
        }
        packaged = {
            name
            for name in sources
            if all(
                (checkout / parent / '__init__.py').exists()
                for parent in Path(name).parents[:-1]
            )
        }
        assert packaged <= python
        assert sources == packaged, 'an __init__.py is missing'

        (name,) = (n for n in wheel.namelist() if n.endswith('/METADATA'))
        metadata = wheel.read(name).decode()
    check_metadata(message_from_string(metadata))


def check_metadata(metadata):
    assert metadata['Name'] == 'mmfft'
    assert metadata['Requires-Python'] == '>=3.10'
    assert set(metadata.get_all('Provides-Extra')) == {*EXTRAS, 'all'}
    needs = [Requirement(n) for n in metadata.get_all('Requires-Dist')]
    plain = {str(r) for r in needs if r.marker is None}
    assert plain == {
        str(r) for r in read_requirements(ROOT / 'requirements.txt')
    }
    everything = set()
    for extra in EXTRAS:
        file = read_requirements(ROOT / 'requirements' / f'{extra}.txt')
        wanted = {r.name for r in file}
        everything |= wanted
        assert names_of(needs, extra) == wanted
    assert names_of(needs, 'all') == everything


def names_of(requirements, extra):
    return {
        r.name
        for r in requirements
        if r.marker and r.marker.evaluate({'extra': extra})
    }


def test_sdist(checkout, tmp_path):
    built = build(checkout, 'build_sdist', tmp_path / 'sdist')
    with tarfile.open(built) as sdist:
        names = {name.partition('/')[2] for name in sdist.getnames()}
    assert {'setup.py', 'requirements.txt', 'LICENSE'} <= names
    assert {f'requirements/{extra}.txt' for extra in EXTRAS} <= names
    assert {'configs/sub/marker.py', 'model-index.yml'} <= names
    assert not any('.mim' in n or '__pycache__' in n for n in names)


def test_editable(checkout, tmp_path):
    # A leftover, as of an install on a system without links.
    leftover = checkout / 'mmfft' / '.mim' / 'configs'
    if leftover.is_symlink():
        leftover.unlink()
    leftover.mkdir(parents=True)

    built = build(checkout, 'build_editable', tmp_path / 'editable')
    for name in ('configs', 'tools', 'model-index.yml'):
        link = checkout / 'mmfft' / '.mim' / name
        assert link.is_symlink()
        assert not os.path.isabs(os.readlink(link))
        assert link.samefile(checkout / name)
    assert not (checkout / 'mmfft' / '.mim' / 'dataset-index.yml').exists()

    with zipfile.ZipFile(built) as wheel:
        wheel.extractall(tmp_path / 'site')
    code = """
        import importlib.util, site, sys
        site.addsitedir(sys.argv[1])
        print(importlib.util.find_spec('mmfft').origin)
        assert importlib.util.find_spec('configs') is None
        assert importlib.util.find_spec('tools') is None
    """
    command = [sys.executable, '-I', '-S', '-c', textwrap.dedent(code)]
    found = subprocess.check_output(
        [*command, str(tmp_path / 'site')], text=True
    )
    assert checkout.joinpath('mmfft', '__init__.py').samefile(found.strip())


@pytest.mark.parametrize('name', MIM_NAMES)
def test_mim_of_this_checkout(name):
    folder = ROOT / 'mmfft' / '.mim'
    if not folder.exists():
        pytest.skip('mmfft is not installed from this checkout')
    assert (ROOT / name).exists() == (folder / name).exists()
    if (ROOT / name).exists():
        assert (folder / name).samefile(ROOT / name)


# ---------------------------------------------------------------- install.sh

bash = pytest.mark.skipif(
    not shutil.which('bash') or os.name == 'nt', reason='needs bash'
)


def install(checkout, *args, **env):
    """Runs the install.sh of a checkout, from another folder."""
    environ = {**os.environ, **UNSET, **env}
    return subprocess.run(
        ['bash', str(checkout / 'scripts' / 'install.sh'), *args],
        env=environ,
        cwd=checkout.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_refused(result, checkout, *parts):
    """It failed with one line for the problem, before it changed anything."""
    assert result.returncode == 1
    problem, end = result.stderr.splitlines()
    for part in parts:
        assert part in problem
    assert end.startswith('install: stopped before')
    assert not (checkout / '.venv').exists()


@pytest.fixture
def clone(tmp_path):
    """A copy of the checkout at a place with a space in its name."""
    root = tmp_path / 'a clone'
    root.mkdir()
    return copy_checkout(root)


@bash
def test_scripts_parse():
    for script in ('scripts/install.sh', '.ci/run'):
        subprocess.run(['bash', '-n', str(ROOT / script)], check=True)
        if shutil.which('shellcheck'):
            subprocess.run(['shellcheck', str(ROOT / script)], check=True)


@bash
def test_refuses_python_that_is_not_there(clone):
    result = install(clone, PYTHON='no-such-python', CXX='true')
    assert_refused(result, clone, 'no-such-python does not run')


@bash
def test_refuses_python_that_does_not_run(clone, tmp_path):
    # As pyenv's shims: on the PATH, and yet of no use.
    shim = tmp_path / 'python3.11'
    shim.write_text('#!/bin/sh\necho "command not found" >&2\nexit 127\n')
    shim.chmod(0o755)
    result = install(clone, PYTHON=str(shim), CXX='true')
    assert_refused(result, clone, f'PYTHON={shim} does not run')


@bash
def test_refuses_python_that_is_too_old(clone, tmp_path):
    old = tmp_path / 'python'
    old.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 3.8\n')
    old.chmod(0o755)
    result = install(clone, PYTHON=str(old), CXX='true')
    assert_refused(result, clone, 'is Python 3.8', 'needs 3.10')


@bash
@pytest.mark.parametrize(
    'facts, advice',
    [
        ('12 - headers', 'apt-get install python3.12-venv'),
        ('12 venv -', 'apt-get install python3.12-dev'),
    ],
)
def test_refuses_python_with_parts_missing(clone, tmp_path, facts, advice):
    bare = tmp_path / 'python'
    bare.write_text(f'#!/bin/sh\necho {facts}\n')
    bare.chmod(0o755)
    result = install(clone, PYTHON=str(bare), CXX='true')
    assert_refused(result, clone, advice, 'Fedora: dnf install')


@bash
def test_refuses_machine_without_python(clone, tmp_path):
    tools = tmp_path / 'bin'
    tools.mkdir()
    for tool in ('dirname', 'head', 'grep', 'ls', 'true'):
        os.symlink(shutil.which(tool), tools / tool)
    result = subprocess.run(
        [shutil.which('bash'), str(clone / 'scripts' / 'install.sh')],
        env={'PATH': str(tools), 'CXX': 'true'},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert_refused(result, clone, 'no Python 3.10', 'apt-get install python3')


@bash
def test_refuses_missing_compiler(clone):
    result = install(clone, PYTHON=sys.executable, CXX='no-such-compiler -x')
    if not has_headers():
        pytest.skip('this Python has no headers, which is said too')
    assert_refused(result, clone, 'no-such-compiler', 'apt-get install g++')


@bash
def test_refuses_folder_that_is_no_environment(clone):
    (clone / 'my files').mkdir()
    (clone / 'my files' / 'thesis.tex').touch()
    if not has_headers():
        pytest.skip('this Python has no headers, which is said too')
    result = install(clone, PYTHON=sys.executable, CXX='true', VENV='my files')
    assert_refused(result, clone, 'my files', 'no virtual environment')
    assert (clone / 'my files' / 'thesis.tex').exists()


def has_headers():
    return Path(sysconfig.get_path('include'), 'Python.h').exists()


# A whole installation, with a pip that only pretends: it notes its arguments,
# and what becomes of the ops of mmcv is read from a plan, a word a call.
FAKE_PIP = """
import os, pathlib, sys, time
site = pathlib.Path(__file__).parents[1]
log = site / 'calls.txt'
with log.open('a') as file:
    print(*sys.argv[1:], file=file)
if sys.argv[-1] in ('onedl-mmcv', 'mmcv'):
    plan = site / 'plan.txt'
    word, *rest = plan.read_text().split()
    plan.write_text(' '.join(rest))
    if word == 'slow':
        (site / 'started').write_text(str(os.getpid()))
        time.sleep(60)
    if word == 'fail':
        sys.exit('error: no such compiler')
    if word.startswith('compiled'):
        print('Building wheel for', sys.argv[-1])
    ops = site / 'mmcv' / '_ext.py'
    ops.touch() if word.endswith('full') else ops.unlink(missing_ok=True)
"""


class FakeEnvironment:
    """A checkout with an environment in which every package is a pretence."""

    def __init__(self, root, line='onedl'):
        self.root = root
        self.line = line
        self.venv = root / {'onedl': '.venv'}.get(line, f'.venv-{line}')
        subprocess.run(
            [sys.executable, '-m', 'venv', '--without-pip', str(self.venv)],
            check=True,
        )
        (self.site,) = self.venv.glob('lib/python*/site-packages')
        modules = 'torch torchvision timm mmengine mmcv mmpretrain mmdet mmseg'
        for name in [*modules.split(), 'cv2', 'pip']:
            (self.site / name).mkdir()
            (self.site / name / '__init__.py').write_text(
                "__version__ = '1.0'\n"
            )
        (self.site / 'pip' / '__main__.py').write_text(FAKE_PIP)
        # Not the package itself, which imports what is not there.
        shutil.rmtree(root / 'mmfft')
        (root / 'mmfft' / '.mim').mkdir(parents=True)
        (root / 'mmfft' / '__init__.py').touch()
        for name in MIM_NAMES:
            if (root / name).exists():
                (root / 'mmfft' / '.mim' / name).symlink_to(root / name)
        (self.site / 'mmfft.pth').write_text(f'{root}\n')
        for requirement in pins(line).values():
            self.set_version(requirement.name, str(requirement.specifier)[2:])
        self.plan('compiled-full')

    def info(self, name):
        return self.site / f'{name.replace("-", "_")}-0.dist-info'

    def set_version(self, name, version):
        self.info(name).mkdir(exist_ok=True)
        (self.info(name) / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
        )

    def plan(self, words):
        (self.site / 'plan.txt').write_text(words)

    def calls(self):
        log = self.site / 'calls.txt'
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def install(self, *args, **env):
        env = {'LINE': self.line, 'CXX': 'true', 'MAX_JOBS': '2', **env}
        return install(self.root, *args, **env)

    @property
    def stamp(self):
        return self.venv / 'mmfft-install.stamp'


@pytest.fixture
def fake(clone):
    if not has_headers():
        pytest.skip('install.sh wants a Python with headers')
    return FakeEnvironment(clone)


@bash
def test_second_run_does_nothing(fake):
    result = fake.install()
    assert result.returncode == 0, result.stderr
    assert 'Done in' in result.stdout
    calls = fake.calls()
    assert [' onedl-mmcv' in call for call in calls].count(True) == 1
    assert calls[0].endswith(' opencv-python')
    assert calls[-1].endswith(' --no-deps --no-build-isolation -e .')
    assert all('-c requirements/tested.txt' in call for call in calls)

    begin = time.monotonic()
    result = fake.install()
    assert time.monotonic() - begin < 10  # about 0.2; the machine may be busy
    assert result.returncode == 0
    assert result.stdout == f'{fake.venv} is up to date.\n'
    assert not fake.calls()
    assert fake.install('--check').returncode == 0


@bash
def test_change_is_noticed(fake):
    assert fake.install().returncode == 0

    def assert_stale(reason):
        result = fake.install('--check')
        assert result.returncode == 1
        assert reason in result.stderr
        return True

    ops = fake.site / 'mmcv' / '_ext.py'
    ops.rename(fake.site / 'mmcv' / 'elsewhere.py')
    assert_stale('compiled ops of mmcv are missing')
    (fake.site / 'mmcv' / 'elsewhere.py').rename(ops)

    numpy = str(pins()['numpy'].specifier)[2:]
    fake.set_version('numpy', '1.0')
    assert_stale(f'numpy is 1.0, not {numpy}')
    fake.set_version('numpy', f'{numpy}+local')
    assert fake.install('--check').returncode == 0
    shutil.rmtree(fake.info('numpy'))
    assert_stale('numpy is missing')
    fake.set_version('numpy', numpy)

    link = fake.root / 'mmfft' / '.mim' / 'tools'
    (fake.root / 'tools').mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    assert_stale('mmfft/.mim/tools')
    link.symlink_to(fake.root / 'tools')

    path = (fake.site / 'mmfft.pth').read_text()
    (fake.site / 'mmfft.pth').write_text(f'{ROOT}\n')
    assert_stale(f'not installed from here but from {ROOT}')
    (fake.site / 'mmfft.pth').write_text(path)
    assert fake.install('--check').returncode == 0

    fake.stamp.rename(fake.venv / 'stamp')
    assert_stale('no installation was finished')
    (fake.venv / 'stamp').rename(fake.stamp)
    with open(fake.root / 'requirements' / 'demo.txt', 'a') as file:
        file.write('# more\n')
    assert_stale('the requirements, the Python or its place changed')


@bash
def test_the_original_line(clone):
    fake = FakeEnvironment(clone, 'upstream')
    fake.plan('cached-light compiled-full')
    result = fake.install()
    assert result.returncode == 0, result.stderr
    calls = fake.calls()
    assert len([c for c in calls if c.endswith(' mmcv')]) == 2
    assert 'cache remove mmcv-*-none-any' in calls
    assert any('-r requirements/upstream.txt' in call for call in calls)
    assert not any('onedl' in call for call in calls)
    assert fake.install('--check').returncode == 0
    assert fake.install('--check', LINE='onedl').returncode == 1  # no .venv

    # Never the one line over the other.
    result = fake.install(LINE='onedl', VENV='.venv-upstream')
    assert result.returncode == 1
    assert 'holds mmcv, which onedl-mmcv would write over' in result.stderr
    assert not fake.calls()


@bash
def test_refuses_a_line_that_is_not_there(clone):
    result = install(clone, LINE='mmlab')
    assert result.returncode == 1
    assert 'LINE=mmlab is neither onedl nor upstream' in result.stderr


@bash
def test_moved_environment_is_refused(fake):
    assert fake.install().returncode == 0
    pip = fake.venv / 'bin' / 'pip'
    pip.write_text(f'#!/bin/sh\n\'\'\'exec\' "{fake.venv}/bin/python" "$0"\n')
    assert fake.install('--check').returncode == 0
    moved = fake.root / 'moved'
    fake.venv.rename(moved)
    result = fake.install(VENV='moved')
    assert result.returncode == 1
    assert f'{moved} was made as {fake.venv} and moved' in result.stderr


@bash
@pytest.mark.parametrize(
    'plan, last',
    [
        ('cached-full', 'pip has it compiled'),
        # A light wheel out of the cache, then compiled.
        ('cached-light compiled-full', '--force-reinstall --no-deps'),
        # One that fits no longer, and stands in the way twice.
        ('cached-light cached-light compiled-full', '--no-cache-dir'),
    ],
)
def test_mmcv_without_ops_is_repaired(fake, plan, last):
    fake.plan(plan)
    result = fake.install()
    assert result.returncode == 0, result.stdout
    calls = fake.calls()
    mmcv = [call for call in calls if call.endswith(' onedl-mmcv')]
    assert len(mmcv) == len(plan.split())
    assert all('--no-build-isolation' in call for call in mmcv)
    assert last in mmcv[-1] or last in result.stdout
    removed = 'cache remove onedl_mmcv-*-none-any' in calls
    assert removed == (len(mmcv) > 1)
    assert ('without its compiled ops' in result.stdout) == (len(mmcv) > 1)


@bash
def test_mmcv_that_does_not_get_ops_is_not_compiled_for_ever(fake):
    fake.plan('cached-light compiled-light compiled-full')
    result = fake.install()
    assert result.returncode == 1
    assert 'import mmcv._ext failed' in result.stderr
    assert len([c for c in fake.calls() if c.endswith(' onedl-mmcv')]) == 2
    assert not fake.stamp.exists()


@bash
def test_failure_shows_the_log(fake):
    fake.plan('fail compiled-full')
    result = fake.install()
    assert result.returncode == 1
    assert 'error: no such compiler' in result.stdout
    assert f'the whole log is {fake.venv}/install.log' in result.stderr
    assert not fake.stamp.exists()
    # It goes on from there.
    assert fake.install().returncode == 0
    assert fake.stamp.exists()


@bash
def test_missing_system_library_of_opencv(fake):
    (fake.site / 'cv2' / '__init__.py').write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: "
        "No such file or directory')\n"
    )
    result = fake.install()
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert 'OpenCV needs libGL.so.1' in line
    assert 'apt-get install libgl1 libglib2.0-0' in line
    # Before the large downloads and the compilation.
    assert not any('torch' in call for call in fake.calls())


@bash
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_nothing_running(fake, number):
    fake.plan('slow compiled-full')
    process = subprocess.Popen(
        ['bash', str(fake.root / 'scripts' / 'install.sh')],
        env={**os.environ, **UNSET, 'CXX': 'true'},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    started = fake.site / 'started'
    wait_for(lambda: started.exists() and started.read_text())
    pid = int(started.read_text())
    assert runs(pid)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert 'interrupted; run it again' in error
    wait_for(lambda: not runs(pid))
    assert not fake.stamp.exists()
    assert fake.install().returncode == 0


@bash
@pytest.mark.skipif(not shutil.which('flock'), reason='needs flock')
def test_two_at_once(fake):
    import fcntl

    with open(fake.root / 'requirements' / 'onedl.txt') as pins_of_line:
        fcntl.flock(pins_of_line, fcntl.LOCK_EX)
        process = subprocess.Popen(
            ['bash', str(fake.root / 'scripts' / 'install.sh')],
            env={**os.environ, **UNSET, 'CXX': 'true'},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert 'Another installation' in process.stdout.readline()
        assert not fake.calls()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert 'Done in' in output


def runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@bash
def test_this_environment_is_up_to_date():
    venv = Path(sys.prefix)
    if not (venv / 'mmfft-install.stamp').exists():
        pytest.skip('not an environment that install.sh made')
    line = lines.installed_line()
    result = install(ROOT, '--check', LINE=line, VENV=str(venv))
    assert result.returncode == 0, result.stderr
