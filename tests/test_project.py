# Copyright (c) mmfft authors. All rights reserved.
"""What a stranger meets first: changelog, citation, workflows, issue forms."""

import re
import runpy
import sys
import tarfile
import zipfile
from datetime import date

import pytest
import yaml
from conftest import ROOT
from packaging.version import Version

from mmfft.version import __version__

GITHUB = ROOT / '.github'
WORKFLOWS = sorted(GITHUB.glob('workflows/*.yml'))
CHANGELOG = (ROOT / 'CHANGELOG.md').read_text()
CITATION = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
URL = re.search(r"^URL = '(.+)'$", (ROOT / 'setup.py').read_text(), re.M)[1]


def test_each_file_names_the_same_repository():
    owner = URL.split('/')[-2]
    for name in (
        *('CHANGELOG.md', 'CITATION.cff', 'SECURITY.md'),
        '.github/ISSUE_TEMPLATE/config.yml',
    ):
        path = ROOT / name
        named = re.findall(
            rf'https://[^\s/]+/{owner}/[\w.-]+', path.read_text()
        )
        assert set(named) == {URL}, path.name


# --------------------------------------------------------------- changelog


def sections():
    """Versions and dates of the changelog, and the text below each."""
    parts = re.split(r'^## (.+)\n', CHANGELOG, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def dates():
    found = {}
    for heading in list(sections())[1:]:
        version, day = re.fullmatch(r'\[(.+)\] - (.+)', heading).groups()
        found[version] = date.fromisoformat(day)
    return found


def test_changelog_begins_with_the_present_version():
    assert next(iter(sections())) == '[Unreleased]'
    assert next(iter(dates())) == __version__


def test_versions_of_the_changelog_are_in_order():
    versions = list(map(Version, dates()))
    assert versions == sorted(versions, reverse=True)
    days = list(dates().values())
    assert days == sorted(days, reverse=True)


def test_groups_are_those_of_keep_a_changelog():
    known = 'Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security'
    for text in sections().values():
        groups = re.findall(r'^### (.+)$', text, re.M)
        assert groups == [group for group in known if group in groups]


def test_links_of_the_changelog():
    versions = ['Unreleased', *dates()]
    links = dict(re.findall(r'^\[(.+?)\]: (\S+)$', CHANGELOG, re.M))
    assert list(links) == versions
    assert links['Unreleased'] == f'{URL}/compare/v{versions[1]}...HEAD'
    for version in dates():
        assert links[version].startswith(f'{URL}/')
        assert links[version].endswith(f'v{version}')


# ------------------------------------------------------------ other documents


def test_citation_is_of_the_present_version():
    assert CITATION['version'] == __version__
    assert CITATION['date-released'] == dates()[__version__]
    assert CITATION['repository-code'] == URL


def test_security_names_what_exists():
    from mmfft import checkpoints
    from mmfft.checkpoints import pickles, take_weights

    text = (ROOT / 'SECURITY.md').read_text()
    for name in ('harden', 'read_file', 'load_checkpoint_file'):
        assert f'{name}' in text and callable(getattr(checkpoints, name))
    for module in (pickles, take_weights):
        assert module.__name__ in text


# ------------------------------------------------------------------- GitHub


@pytest.mark.parametrize(
    'schema, pattern',
    [
        ('github-workflows', '.github/workflows/*.yml'),
        ('github-actions', '.github/actions/*/action.yml'),
        ('github-issue-forms', '.github/ISSUE_TEMPLATE/[!c]*.yml'),
        ('github-issue-config', '.github/ISSUE_TEMPLATE/config.yml'),
        ('dependabot', '.github/dependabot.yml'),
        ('citation-file-format', 'CITATION.cff'),
    ],
)
def test_schemas(schema, pattern):
    from check_jsonschema import main
    from click.testing import CliRunner

    files = sorted(map(str, ROOT.glob(pattern)))
    assert files
    result = CliRunner().invoke(
        main, ['--builtin-schema', f'vendor.{schema}', *files]
    )
    assert result.exit_code == 0, result.output


def read_workflow(path):
    workflow = yaml.safe_load(path.read_text())
    # YAML 1.1 reads the key `on` as a truth value.
    workflow['on'] = workflow.pop(True)
    return workflow


def steps_of(workflow):
    return [s for job in workflow['jobs'].values() for s in job['steps']]


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_only_call_make(path):
    makefile = (ROOT / 'Makefile').read_text()
    for step in steps_of(read_workflow(path)):
        if 'run' in step:
            program, target, *_ = step['run'].split()
            assert program == 'make'
            assert f'\n{target}:' in makefile


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_do_no_more_than_they_must(path):
    workflow = read_workflow(path)
    assert workflow['permissions'] == {'contents': 'read'}
    assert workflow['concurrency']['group']
    for name, job in workflow['jobs'].items():
        assert job['timeout-minutes'] <= 120
        more = set(job.get('permissions', {})) - {'contents'}
        assert not more or name in ('publish', 'deploy')
        # Who may publish is asked in the environment.
        assert not more or job['environment']
        assert not more or not any('run' in step for step in job['steps'])


def test_actions_have_versions():
    texts = [*WORKFLOWS, *GITHUB.glob('actions/*/action.yml')]
    used = re.findall(
        r'uses: (\S+)', '\n'.join(path.read_text() for path in texts)
    )
    assert len(used) > 10
    versions = {}
    for name, _, version in (action.partition('@') for action in used):
        if name.startswith('./'):
            assert (ROOT / name / 'action.yml').is_file()
        else:
            assert re.fullmatch(r'v\d+|release/v\d+', version), name
            assert versions.setdefault(name, version) == version


def test_each_python_is_tested():
    classifiers = re.findall(
        r"'Programming Language :: Python :: (3\.\d+)'",
        (ROOT / 'setup.py').read_text(),
    )
    (tests,) = (path for path in WORKFLOWS if path.stem == 'test')
    matrix = read_workflow(tests)['jobs']['fast']['strategy']['matrix']
    assert matrix['python'] == classifiers


def test_only_a_tag_is_published():
    publishing = {
        path.stem: read_workflow(path)['on']
        for path in WORKFLOWS
        if 'gh-action-pypi-publish' in path.read_text()
    }
    assert publishing == {'release': {'push': {'tags': ['v*']}}}


# ----------------------------------------------------------------- releases


def write_distributions(folder, version=__version__, source=URL):
    metadata = (
        f'Metadata-Version: 2.4\nName: mmfft\nVersion: {version}\n'
        f'Project-URL: Source, {source}\n'
    )
    folder.mkdir(exist_ok=True)
    stem = f'mmfft-{version}'
    with zipfile.ZipFile(folder / f'{stem}-py3-none-any.whl', 'w') as wheel:
        wheel.writestr(f'{stem}.dist-info/METADATA', metadata)
    (folder / 'PKG-INFO').write_text(metadata)
    with tarfile.open(folder / f'{stem}.tar.gz', 'w:gz') as sdist:
        sdist.add(folder / 'PKG-INFO', f'{stem}/PKG-INFO')


@pytest.fixture
def check_release(tmp_path, monkeypatch):
    """Run scripts/release.py on the distributions in ``tmp_path / 'dist'``."""
    write_distributions(tmp_path / 'dist')

    def run(tag=f'v{__version__}', repository=URL.split('.com/')[1]):
        script = str(ROOT / 'scripts' / 'release.py')
        arguments = [tag, repository, '--dist', str(tmp_path / 'dist')]
        monkeypatch.setattr(sys, 'argv', [script, *arguments])
        runpy.run_path(script, run_name='__main__')

    return run


def test_a_release_may_be_published(check_release, capsys):
    check_release()
    assert f'may be published as v{__version__}' in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments, word',
    [
        (dict(tag='v0.0.1'), "whose tag is 'v"),
        (dict(tag=__version__), "whose tag is 'v"),
        (dict(repository='someone/mmfft'), 'change URL in setup.py'),
    ],
)
def test_a_release_is_refused(check_release, capsys, arguments, word):
    with pytest.raises(SystemExit) as error:
        check_release(**arguments)
    assert error.value.code == 2
    output = capsys.readouterr().err
    assert 'release.py: error: ' in output and word in output


def test_a_release_is_of_one_wheel(check_release, tmp_path, capsys):
    write_distributions(tmp_path / 'dist', '1.0')
    with pytest.raises(SystemExit):
        check_release()
    assert 'must hold one *.whl, got' in capsys.readouterr().err


def test_a_release_is_in_the_changelog(check_release, tmp_path, capsys):
    for file in (tmp_path / 'dist').iterdir():
        file.unlink()
    write_distributions(tmp_path / 'dist', '99.0')
    with pytest.raises(SystemExit):
        check_release('v99.0')
    assert 'no section [99.0]' in capsys.readouterr().err
