# Copyright (c) mmfft authors. All rights reserved.
"""scripts/install.sh, with installers that only pretend."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from mmfft.openmmlab import lines

pytestmark = pytest.mark.skipif(
    not shutil.which('bash') or os.name == 'nt', reason='needs bash'
)
# What a user may have set, or make, or the machine that tests.
UNSET = (
    'LINE VENV PYTHON OPS INSTALLER TORCH_INDEX UV_DEFAULT_INDEX UV_INDEX '
    'UV_INDEX_STRATEGY SSL_CERT_FILE UV_INSECURE_HOST'
).split()


def environment(**env):
    kept = {k: v for k, v in os.environ.items() if k not in UNSET}
    return {**kept, **env}


def install(checkout, *args, **env):
    """Run the install.sh of a checkout, from another folder."""
    return subprocess.run(
        ['bash', str(checkout / 'scripts' / 'install.sh'), *args],
        env=environment(**env),
        cwd=checkout.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def clone(tmp_path):
    """A copy of what install.sh reads, where the path has a space in it."""
    root = tmp_path / 'a clone'
    for name in ('scripts', 'requirements'):
        shutil.copytree(ROOT / name, root / name)
    for name in ('setup.py', 'pyproject.toml', 'requirements.txt'):
        shutil.copy2(ROOT / name, root / name)
    for name in ('configs', 'demo', 'tools', 'mmfft/.mim'):
        (root / name).mkdir(parents=True)
    (root / 'model-index.yml').touch()
    return root


# ------------------------------------------------------------------ refusals


def script(path, text):
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return str(path)


def assert_refused(result, checkout, *parts):
    """It failed with one line, before it made or downloaded anything."""
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith('install: ')
    for part in parts:
        assert part in line
    assert not (checkout / '.venv').exists()


@pytest.mark.parametrize(
    'name, value', [('LINE', 'mmlab'), ('OPS', 'fast'), ('INSTALLER', 'conda')]
)
def test_refuses_a_choice_that_is_not_there(clone, name, value):
    result = install(clone, **{name: value})
    assert_refused(result, clone, f'{name}={value} must be one of')


def test_refuses_python_that_is_not_there(clone):
    result = install(clone, PYTHON='no-such-python')
    assert_refused(result, clone, 'no-such-python is something that does not')


def test_refuses_python_that_does_not_run(clone, tmp_path):
    # As pyenv's shims: on the PATH, and yet of no use.
    shim = script(tmp_path / 'python3.11', 'echo not found >&2; exit 127')
    result = install(clone, PYTHON=shim)
    assert_refused(result, clone, f'PYTHON={shim}', '3.10 to 3.14')


@pytest.mark.parametrize('version', ['3.9.1', '3.15.0'])
def test_refuses_python_of_another_version(clone, tmp_path, version):
    old = script(
        tmp_path / 'python', f'[ "$1" = -V ] && echo Python {version}'
    )
    result = install(clone, PYTHON=old)
    assert_refused(result, clone, f'is Python {version}', '3.10 to 3.14')


def test_refuses_python_that_makes_no_environments(clone, tmp_path):
    bare = script(tmp_path / 'python', 'echo 12 False')
    result = install(clone, PYTHON=bare)
    assert result.returncode == 1
    assert 'apt-get install python3.12-venv' in result.stderr
    assert not (clone / '.venv').exists()


def test_refuses_machine_without_python(clone, tmp_path):
    tools = tmp_path / 'bin'
    tools.mkdir()
    for tool in ('dirname', 'grep', 'ls', 'cat'):
        os.symlink(shutil.which(tool), tools / tool)
    result = subprocess.run(
        [shutil.which('bash'), str(clone / 'scripts' / 'install.sh')],
        env={'PATH': str(tools)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert_refused(result, clone, 'no Python 3.10', 'apt-get install python3')


def test_refuses_folder_that_is_no_environment(clone):
    (clone / 'my files').mkdir()
    (clone / 'my files' / 'thesis.tex').touch()
    result = install(clone, PYTHON=sys.executable, VENV='my files')
    assert_refused(result, clone, 'my files', 'is not a virtual environment')
    assert (clone / 'my files' / 'thesis.tex').exists()


# ------------------------------------------------------------ installations

# uv and pip note their arguments, and do what a plan says, a word a call.
FAKE = """
import json, os, pathlib, sys, time
site = pathlib.Path(SITE)
name, *arguments = sys.argv
name = 'uv' if name.endswith('uv.py') else 'pip'
if arguments[:2] == ['config', 'list']:
    sys.exit(print((site / 'pip-config.txt').read_text()))
with (site / 'calls.txt').open('a') as file:
    print(name, *arguments, file=file)
(site / f'{name}-environment.json').write_text(json.dumps(dict(os.environ)))
if '--dry-run' in arguments:
    state = site / 'state.txt'
    state = state.read_text() if state.exists() else 'Would install'
    print(state)
    sys.exit('--no-index' in arguments and 'no changes' not in state)
plan = site / 'plan.txt'
word, *rest = plan.read_text().split() or ['good']
plan.write_text(' '.join(rest))
if word == 'slow':
    (site / 'started').write_text(str(os.getpid()))
    time.sleep(60)
messages = dict(disk='OSError: [Errno 28] No space left on device',
                network='  Caused by: dns error', fail='error: no such thing')
if word in messages:
    sys.exit(messages[word])
(site / 'mmcv').mkdir(exist_ok=True)
(site / 'state.txt').write_text('Would make no changes')
if '-e' in arguments:
    info = site / 'mmfft-0.dist-info'
    info.mkdir(exist_ok=True)
    url = pathlib.Path.cwd().as_uri()
    (info / 'direct_url.json').write_text(json.dumps(dict(url=url)))
print(' + a-package==1.0')
print('Installed 1 package')
"""
# Of the checkout: what install.sh calls when everything is installed.
MMCV_OPS = """
import pathlib, sys
site = pathlib.Path(SITE)
with (site / 'calls.txt').open('a') as file:
    print('mmcv_ops', *sys.argv[1:], file=file)
(site / 'mmcv' / '_ext.py').touch()
print('mmcv ops:', sys.argv[1])
"""


class FakeEnvironment:
    """A checkout whose environment has installers that only pretend."""

    def __init__(self, root, name='.venv', with_uv=True):
        self.root = root
        self.venv = root / name
        subprocess.run(
            [sys.executable, '-m', 'venv', '--without-pip', str(self.venv)],
            check=True,
        )
        (self.site,) = self.venv.glob('lib/python*/site-packages')
        fake = FAKE.replace('SITE', repr(str(self.site)))
        for name in ('pip', 'cv2'):
            (self.site / name).mkdir()
            (self.site / name / '__init__.py').touch()
        (self.site / 'pip' / '__main__.py').write_text(fake)
        (self.site / 'pip-config.txt').touch()
        self.uv = self.venv / 'bin' / 'uv'
        if with_uv:
            (self.site / 'uv.py').write_text(fake)
            script(
                self.uv,
                f'exec "{self.venv}/bin/python" "{self.site}/uv.py" "$@"',
            )
        for name, text in dict(mmcv_ops=MMCV_OPS, collect_env='').items():
            text = text.replace('SITE', repr(str(self.site)))
            (root / 'mmfft' / f'{name}.py').write_text(text)
        (root / 'mmfft' / '__init__.py').touch()
        for name in ('configs', 'demo', 'tools', 'model-index.yml'):
            (root / 'mmfft' / '.mim' / name).symlink_to(root / name)
        self.plan('')

    def plan(self, words):
        (self.site / 'plan.txt').write_text(words)

    def calls(self):
        """What was called since the last look."""
        log = self.site / 'calls.txt'
        found = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return found

    def seen(self, name):
        """The environment variables of an installer's last call."""
        path = self.site / f'{name}-environment.json'
        return json.loads(path.read_text())

    def install(self, *args, **env):
        return install(self.root, *args, **env)


@pytest.fixture
def fake(clone):
    return FakeEnvironment(clone)


def test_installs_without_a_compiler(fake):
    result = fake.install(CXX='/no/such/compiler')
    assert result.returncode == 0, result.stderr
    assert 'Done in' in result.stdout
    assert 'source .venv/bin/activate' in result.stdout
    # The list of packages is for the log.
    assert 'Installed 1 package' in result.stdout
    assert 'a-package' not in result.stdout
    assert 'a-package' in (fake.venv / 'install.log').read_text()
    calls = [call for call in fake.calls() if '--dry-run' not in call]
    assert [call.split()[0] for call in calls] == ['uv', 'uv', 'mmcv_ops']
    assert calls[0].endswith(f'-r {fake.venv}/lock.txt')
    assert calls[1].endswith('--no-build-isolation -e .')
    assert calls[2] == 'mmcv_ops light'
    # What the installers unpack goes where there is room.
    assert fake.seen('uv')['TMPDIR'].startswith(str(fake.venv))
    assert fake.seen('uv')['PIP_USER'] == '0'
    assert not (fake.venv / 'tmp').exists()


def test_second_run_does_nothing(fake):
    assert fake.install().returncode == 0
    fake.calls()
    begin = time.monotonic()
    result = fake.install()
    assert time.monotonic() - begin < 10  # about 0.1; the machine may be busy
    assert result.returncode == 0
    assert result.stdout == f'{fake.venv} is up to date.\n'
    (call,) = fake.calls()
    assert '--offline --dry-run' in call
    assert fake.install('--check').returncode == 0


def test_change_is_noticed(fake):
    assert fake.install().returncode == 0

    def assert_stale():
        result = fake.install('--check')
        assert result.returncode == 1
        assert 'is not up to date: make install' in result.stderr

    def assert_good():
        assert fake.install('--check').returncode == 0

    state = fake.site / 'state.txt'
    state.write_text('Would install 1 package')
    assert_stale()
    state.write_text('Would make no changes')
    assert_good()

    ops = fake.site / 'mmcv' / '_ext.py'
    ops.rename(fake.site / 'mmcv' / 'elsewhere.py')
    assert_stale()
    (fake.site / 'mmcv' / 'elsewhere.py').rename(ops)
    assert_good()

    link = fake.root / 'mmfft' / '.mim' / 'tools'
    link.unlink()
    assert_stale()
    link.symlink_to(fake.root / 'tools')
    assert_good()

    url = fake.site / 'mmfft-0.dist-info' / 'direct_url.json'
    here = url.read_text()
    url.write_text(json.dumps(dict(url=ROOT.as_uri())))
    assert_stale()
    url.write_text(here)
    assert_good()

    late = time.time() + 60
    os.utime(fake.root / 'requirements' / 'demo.txt', (late, late))
    assert_stale()


def test_the_original_line(clone):
    fake = FakeEnvironment(clone, name='.venv-upstream')
    result = fake.install(LINE='upstream')
    assert result.returncode == 0, result.stderr
    assert '\nmmcv==' in (fake.venv / 'lock.txt').read_text()
    assert fake.install('--check', LINE='upstream').returncode == 0
    assert fake.install('--check').returncode == 1  # there is no .venv


def test_never_one_line_over_the_other(fake):
    (fake.site / 'mmcv-2.1.0.dist-info').mkdir()
    result = fake.install()
    assert result.returncode == 1
    assert 'holds the other line of OpenMMLab' in result.stderr
    assert not [c for c in fake.calls() if '--dry-run' not in c]


def test_never_another_python_over_this_one(fake, tmp_path):
    other = script(tmp_path / 'python', 'echo 99 True')
    result = fake.install(PYTHON=other)
    assert result.returncode == 1
    assert 'was made with another Python' in result.stderr


def test_pip_where_uv_cannot_be_had(clone):
    fake = FakeEnvironment(clone, with_uv=False)
    fake.plan('network')
    result = fake.install()
    assert result.returncode == 0, result.stderr
    assert 'uv cannot be installed' in result.stdout
    calls = [call for call in fake.calls() if '--dry-run' not in call]
    assert calls[0].startswith('pip install -q uv==')
    assert calls[1].endswith(f'-r {fake.venv}/lock.txt')
    assert calls[2].endswith('--no-build-isolation -e .')
    assert all(call.startswith('pip ') for call in calls[:3])
    assert '\nuv==' not in (fake.venv / 'lock.txt').read_text()
    # What builds the original mmcv must still have pkg_resources.
    assert fake.seen('pip')['PIP_CONSTRAINT'] == 'requirements/build.txt'


def test_pip_by_choice(fake):
    assert fake.install(INSTALLER='pip').returncode == 0
    calls = [call for call in fake.calls() if '--dry-run' not in call]
    assert [call.split()[0] for call in calls] == ['pip', 'pip', 'mmcv_ops']
    result = fake.install('--check', INSTALLER='pip')
    assert result.returncode == 0
    assert '--no-index --dry-run' in fake.calls()[0]


def test_uv_follows_what_pip_is_told(fake):
    config = fake.site / 'pip-config.txt'
    config.write_text(
        "global.index-url='https://mirror/simple'\n"
        "install.extra-index-url='file:///x\\nhttps://more/simple'\n"
        ":env:.cert='/etc/ca.pem'\n"
        "global.timeout='60'\n"
    )
    assert fake.install().returncode == 0
    seen = fake.seen('uv')
    assert seen['UV_DEFAULT_INDEX'] == 'https://mirror/simple'
    assert seen['UV_INDEX'] == 'https://more/simple'
    assert seen['SSL_CERT_FILE'] == '/etc/ca.pem'
    # uv's own settings win.
    (fake.site / 'state.txt').unlink()
    assert fake.install(UV_DEFAULT_INDEX='https://own/').returncode == 0
    assert fake.seen('uv')['UV_DEFAULT_INDEX'] == 'https://own/'


def test_pytorch_from_an_index_for_cpus(fake):
    url = 'https://example.org/whl/cpu'
    result = fake.install(TORCH_INDEX=url)
    assert result.returncode == 0, result.stderr
    first, second = [c for c in fake.calls() if '--no-deps' in c][:2]
    assert f'--index-url {url} torch==' in first and 'torchvision==' in first
    lock = fake.venv / 'lock.txt'
    assert second.endswith(f'-r {lock}')
    assert 'torch==' in lock.read_text()
    assert 'nvidia-' not in lock.read_text()
    assert 'triton' not in lock.read_text()
    # It is still so when nobody says it.
    (fake.site / 'torch-2.11.0+cpu.dist-info').mkdir()
    lock.unlink()
    assert fake.install('--check').returncode == 0
    assert fake.calls()[-1].endswith(f'-r {lock}')


def test_choice_of_ops(fake):
    def called(state='Would install 1 package', **env):
        (fake.site / 'state.txt').write_text(state)
        assert fake.install(**env).returncode == 0
        return [c for c in fake.calls() if c.startswith('mmcv_ops')]

    assert called() == ['mmcv_ops light']
    assert called(OPS='compiled') == ['mmcv_ops compile']
    (fake.site / 'mmcv' / '_ext.cpython-39-x.so').touch()
    # They stay until somebody says otherwise...
    assert called('Would make no changes', OPS='compiled') == []
    assert called('Would make no changes') == []
    # ... compiled anew where they do not load.
    assert called() == ['mmcv_ops compile']
    (fake.site / 'torch.py').touch()
    (fake.site / 'mmcv' / '__init__.py').touch()
    assert called() == []
    assert called('Would make no changes', OPS='light') == ['mmcv_ops light']


@pytest.mark.parametrize(
    'word, message',
    [
        ('disk', 'a disk is full'),
        ('network', 'the package index cannot be reached'),
        ('fail', 'its whole output is in'),
    ],
)
def test_failure_is_one_line_and_then_it_goes_on(fake, word, message):
    fake.plan(word)
    result = fake.install()
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert message in line
    assert fake.install().returncode == 0


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
    # The build that needs less of the system was tried.
    assert '--reinstall opencv-python-headless==' in fake.calls()[-1]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_nothing_running(fake, number):
    fake.plan('slow')
    process = subprocess.Popen(
        ['bash', str(fake.root / 'scripts' / 'install.sh')],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores it, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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
    assert fake.install().returncode == 0


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


def test_this_environment_is_up_to_date():
    venv = Path(sys.prefix)
    if not (venv / 'install.log').exists():
        pytest.skip('not an environment that install.sh made')
    line = lines.installed_line()
    result = install(ROOT, '--check', LINE=line, VENV=str(venv))
    assert result.returncode == 0, result.stderr


def test_make_lets_python_keep_what_it_compiles():
    """Or each process of the tests would compile its imports again."""
    said = subprocess.run(
        ['make', '--silent', '--eval', 'show: ; @env', 'show'],
        cwd=ROOT,
        env=environment(PYTHONDONTWRITEBYTECODE='1', KEPT='1'),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert 'KEPT=1' in said
    assert 'PYTHONDONTWRITEBYTECODE' not in said
