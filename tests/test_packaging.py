# Copyright (c) mmfft authors. All rights reserved.
"""What is installed: requirements, lock files, wheel, sdist, `.mim`."""

import itertools
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmfft.openmmlab import lines
from mmfft.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ('3.10', '3.11', '3.12', '3.13', '3.14')
EXTRAS = {
    **{e: e for e in ('tests', 'docs', 'export', 'openvino', 'demo', 'vis')},
    'app': 'app',
    'hub': 'hub',
    'openmmlab': 'onedl',
    'openmmlab-original': 'upstream',
}  # and the file of its requirements
# One environment holds one line of OpenMMLab, not whole beside transformers 5.
ALONE = ('openmmlab-original', 'hub')
MIM_NAMES = (
    'configs',
    'demo',
    'tools',
    'model-index.yml',
    'dataset-index.yml',
)
# Folders and files that the source distribution carries whole.
SDIST_FOLDERS = (
    *('.github', 'benchmarks', 'configs', 'demo', 'docs', 'mmfft'),
    *('requirements', 'scripts', 'tests', 'tools'),
)
SDIST_FILES = (
    *('.pre-commit-config.yaml', 'CHANGELOG.md', 'CITATION.cff'),
    *('CONTRIBUTING.md', 'LICENSE', 'MANIFEST.in', 'Makefile', 'README.md'),
    *('SECURITY.md', 'model-index.yml', 'pyproject.toml', 'requirements.txt'),
    'setup.py',
)
# The largest wheel that may be published. It holds text only: 0.66 MB now.
WHEEL_SIZE = 2**20


def read_requirements(path):
    found = []
    lines = Path(path).read_text().splitlines()
    for line in filter(None, (line.split('#')[0].strip() for line in lines)):
        if line.startswith('-r '):
            # As pip does, from the folder of the file.
            found += read_requirements(Path(path).parent / line[3:])
        else:
            found.append(Requirement(line))
    return found


def ranges():
    # gradio asks for an older Pillow than what is tested, and mmpretrain is
    # not whole beside transformers 5.
    pinned = set(EXTRAS.values()) - {'app', 'hub', 'upstream'}
    files = ['requirements.txt', *(f'requirements/{e}.txt' for e in pinned)]
    return [r for file in files for r in read_requirements(ROOT / file)]


def pins(line='onedl', python='3.11'):
    """What the lock file of a line installs on Linux, by name."""
    place = {
        'python_version': python,
        'python_full_version': f'{python}.0',
        'sys_platform': 'linux',
    }
    found = {}
    for requirement in read_requirements(
        ROOT / 'requirements' / 'lock' / f'{line}.txt'
    ):
        if not requirement.marker or requirement.marker.evaluate(place):
            name = canonicalize_name(requirement.name)
            assert name not in found, f'{name} twice on Python {python}'
            found[name] = requirement
    return found


def copy_checkout(target):
    """Copies what makes the distribution, and what must not get into it."""
    ignore = shutil.ignore_patterns('__pycache__', '.mim', '*.egg-info')
    for name in SDIST_FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=ignore)
    for name in SDIST_FILES:
        shutil.copy2(ROOT / name, target / name)
    return target


# ------------------------------------------------------------- requirements


def test_ranges_have_no_upper_bound():
    for requirement in read_requirements(ROOT / 'requirements.txt'):
        for specifier in requirement.specifier:
            assert specifier.operator in ('>=', '!='), requirement


@pytest.mark.parametrize('python', PYTHONS)
@pytest.mark.parametrize('line', ['onedl', 'upstream'])
def test_lock_is_exact_and_satisfies_the_ranges(line, python):
    locked = pins(line, python)
    versions = {}
    for name, requirement in locked.items():
        (specifier,) = requirement.specifier
        assert specifier.operator == '==', requirement
        assert '*' not in specifier.version, requirement
        versions[name] = specifier.version
    for requirement in ranges():
        name = canonicalize_name(requirement.name)
        if line == 'upstream' and name.startswith('onedl-'):
            continue
        assert requirement.specifier.contains(versions[name]), requirement


def test_lock_has_what_make_lock_is_told():
    folder = ROOT / 'requirements'
    for line, python in itertools.product(('onedl', 'upstream'), PYTHONS):
        locked = pins(line, python)
        told = read_requirements(folder / 'tested.txt')
        if line == 'upstream':
            told += read_requirements(folder / 'upstream.txt')
        for requirement in told:
            name = canonicalize_name(requirement.name)
            marker = requirement.marker
            if marker and not marker.evaluate({'python_version': python}):
                continue
            if line == 'upstream' and (
                name == 'opencv-python-headless' or name.startswith('onedl-')
            ):
                continue
            assert set(requirement.specifier) <= set(locked[name].specifier)


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
                'requirements/lock/onedl.txt',
                'requirements/lock/upstream.txt',
            )
        ),
    )
    assert len(found) == 5
    assert len(set(found)) == 1


def test_nothing_names_an_index_or_a_machine():
    for path in [
        *(ROOT / 'requirements').rglob('*.txt'),
        *map(ROOT.joinpath, SDIST_FILES[-2:]),
        ROOT / 'scripts' / 'install.sh',
        *(ROOT / '.github' / 'workflows').iterdir(),
    ]:
        # install.sh takes the URL of an index from whoever calls it, and
        # setup.py knows the address of the project.
        text = path.read_text().replace("URL = 'https://", '')
        assert not re.search(r'https?://|git\+|find-links', text), path


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


@pytest.fixture(scope='module')
def built_wheel(checkout, tmp_path_factory):
    pytest.importorskip('pip')
    folder = tmp_path_factory.mktemp('built')
    # An editable install was there first: its links must survive.
    build(checkout, 'build_editable', folder / 'editable')
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '-q']
    command += ['--no-build-isolation', '-w', str(folder / 'wheel'), '.']
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    assert (checkout / 'mmfft' / '.mim' / 'configs').is_symlink()
    (built,) = (folder / 'wheel').glob('mmfft-*.whl')
    return built


@pytest.fixture(scope='module')
def built_sdist(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp('built') / 'sdist'
    return build(checkout, 'build_sdist', folder)


def test_wheel(checkout, built_wheel):
    assert built_wheel.stat().st_size < WHEEL_SIZE
    with zipfile.ZipFile(built_wheel) as wheel:
        info = f'mmfft-{__version__}.dist-info'
        assert {n.split('/')[0] for n in wheel.namelist()} == {'mmfft', info}
        licence = wheel.read(f'{info}/licenses/LICENSE')
        assert licence == (ROOT / 'LICENSE').read_bytes()

        prefix = 'mmfft/.mim/'
        inside = [n for n in wheel.namelist() if n.startswith(prefix)]
        assert {n[len(prefix) :] for n in inside} == mim_files(checkout)
        for name in inside:
            mode = wheel.getinfo(name).external_attr >> 16
            assert stat.S_ISREG(mode), name
            source = checkout / name[len(prefix) :]
            assert wheel.read(name) == source.read_bytes()

        # Type checkers read the annotations of a package that has it.
        assert 'mmfft/py.typed' in wheel.namelist()
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

        metadata = wheel.read(f'{info}/METADATA').decode()
    check_metadata(message_from_string(metadata))


def check_metadata(metadata):
    assert metadata['Name'] == 'mmfft'
    assert metadata['Requires-Python'] == '>=3.10'
    assert metadata['License-Expression'] == 'Apache-2.0'
    urls = dict(line.split(', ') for line in metadata.get_all('Project-URL'))
    assert all(url.startswith(urls['Homepage']) for url in urls.values())
    check_description(metadata.get_payload(), urls['Homepage'])
    assert set(metadata.get_all('Provides-Extra')) == {*EXTRAS, 'all'}
    needs = [Requirement(n) for n in metadata.get_all('Requires-Dist')]
    plain = {str(r) for r in needs if r.marker is None}
    assert plain == {
        str(r) for r in read_requirements(ROOT / 'requirements' / 'core.txt')
    }
    everything = set()
    for extra, name in EXTRAS.items():
        file = read_requirements(ROOT / 'requirements' / f'{name}.txt')
        wanted = {r.name for r in file}
        everything |= wanted if extra not in ALONE else set()
        assert names_of(needs, extra) == wanted
    assert names_of(needs, 'all') == everything


def check_description(text, url):
    """On PyPI, a link relative to the README leads nowhere."""
    readme = (ROOT / 'README.md').read_text()
    assert re.findall('```.*?```', text, re.S) == re.findall(
        '```.*?```', readme, re.S
    )
    tag = f'/v{__version__}/'
    absolute = text.replace(f'{url}/blob{tag}', '').replace(
        f'{url}/raw{tag}', ''
    )
    assert absolute.strip() == readme.strip()
    prose = re.sub('```.*?```', '', text, flags=re.S)
    links = re.findall(r'(!?)\[[^]]*\]\(([^)]+)\)', prose)
    for picture, target in links:
        assert target.startswith('https://'), target
        if target.startswith(f'{url}/'):
            kind = 'raw' if picture else 'blob'
            assert target.startswith(f'{url}/{kind}{tag}')


def names_of(requirements, extra):
    return {
        r.name
        for r in requirements
        if r.marker and r.marker.evaluate({'extra': extra})
    }


# What a user does in a folder of their own, without a checkout anywhere.
AWAY = """
import mmfft, mmfft.timm_models, mmpretrain, timm
from mmengine.config import Config

assert mmfft.__file__.startswith(SITE), mmfft.__file__
with open('x.py', 'w') as file:
    file.write("_base_ = 'mmfft::demo/mask-rcnn_cdfformer-nano_fpn_1xb4-3e_"
               "digit-scenes.py'")
assert Config.fromfile('x.py').model.backbone.type == 'mmfft.CDFFormer'
assert 'cdfformer-s18_3rdparty_in1k' in mmpretrain.list_models('*dfformer*')
assert len(timm.list_models(module='timm_models')) == 30
"""


@pytest.mark.slow
def test_away_from_the_checkout(built_wheel, tmp_path):
    site, folder = tmp_path / 'site', tmp_path / 'folder'
    folder.mkdir()
    with zipfile.ZipFile(built_wheel) as wheel:
        wheel.extractall(site)

    def run(*command):
        result = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=folder,
            env={
                **os.environ,
                'PYTHONPATH': str(site),
                'OMP_NUM_THREADS': '1',
            },
            capture_output=True,
            text=True,
        )
        return result.returncode, result.stdout + result.stderr

    code, output = run('-c', f'SITE = {str(site)!r}{AWAY}')
    assert code == 0, output
    # A tool, whose data is not there: it says which tool makes it.
    mim = site / 'mmfft' / '.mim'
    code, output = run(mim / 'tools' / 'train.py', 'x.py')
    assert code == 2, output
    command = shlex.split(output.rpartition('to make it: ')[2])
    assert command[0] == 'python'
    assert Path(command[1]).is_relative_to(mim)
    for file in (command[1], mim / 'demo/app.py', mim / 'demo/run.py'):
        code, output = run(file, '--help')
        assert code == 0, output


def test_sdist(checkout, built_sdist):
    with tarfile.open(built_sdist) as sdist:
        names = {name.partition('/')[2] for name in sdist.getnames()}
    assert set(SDIST_FILES) <= names
    carried = {
        path.relative_to(checkout).as_posix()
        for folder in SDIST_FOLDERS
        for path in (checkout / folder).rglob('*')
        if path.is_file()
        and not {'__pycache__', '.mim'}.intersection(path.parts)
    }
    assert {'tests/conftest.py', 'configs/sub/marker.py'} <= carried
    assert carried <= names
    assert not any('.mim' in n or '__pycache__' in n for n in names)


def test_twine_takes_both(built_wheel, built_sdist, capsys):
    from twine.commands.check import check

    failed = check([str(built_wheel), str(built_sdist)], strict=True)
    assert not failed, capsys.readouterr()


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
