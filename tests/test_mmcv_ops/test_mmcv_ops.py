# Copyright (c) mmfft authors. All rights reserved.
"""Which ops of mmcv are found; most of what is installed is made up."""

import importlib
import shutil
import subprocess
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch
import torch.utils.cpp_extension
import torchvision  # noqa: F401

# The two above are imported by what is tested, where `site` hides them.
from mmfft import mmcv_ops
from mmfft.engine import load_config
from mmfft.errors import ConfigError
from mmfft.mmcv_ops import install
from mmfft.openmmlab import lines


@pytest.fixture
def mmcv(site):
    """A folder of an mmcv without ops."""
    for module in ('mmengine', 'mmcv'):
        site.install(lines.DISTRIBUTIONS[module][0], '2.1.0')
    site.module('mmcv')
    return site.folder / 'mmcv'


def extension():
    importlib.invalidate_caches()
    sys.modules.pop('mmcv._ext', None)
    return importlib.import_module('mmcv._ext')


@pytest.fixture
def without_finder(monkeypatch):
    others = [
        finder
        for finder in sys.meta_path
        if not isinstance(finder, mmcv_ops.LightOpsFinder)
    ]
    monkeypatch.setattr(sys, 'meta_path', others)


def test_light_ops_where_there_are_none(mmcv, without_finder):
    with pytest.raises(ModuleNotFoundError):
        extension()
    mmcv_ops.provide()
    mmcv_ops.provide()  # no second finder
    assert isinstance(sys.meta_path[-1], mmcv_ops.LightOpsFinder)
    assert not isinstance(sys.meta_path[-2], mmcv_ops.LightOpsFinder)
    assert extension().nms.__module__ == 'mmcv._ext.boxes'
    assert mmcv_ops.describe().startswith('light (torchvision ')


def test_light_ops_written_into_mmcv(mmcv, without_finder):
    install.install_light_ops()
    # mmfft itself is found beside them.
    (mmcv.parent / 'mmfft').symlink_to(Path(mmcv_ops.__file__).parents[1])
    assert extension().nms.__module__ == 'mmcv._ext.boxes'
    assert mmcv_ops.describe().startswith('light (torchvision ')
    assert importlib.import_module('mmcv')._ext is sys.modules['mmcv._ext']


@pytest.mark.parametrize('written', [False, True])
def test_compiled_ops_win(mmcv, written):
    if written:
        install.install_light_ops()
    compiled = mmcv / f'_ext{EXTENSION_SUFFIXES[0]}'
    # A real extension module, of another name.
    shutil.copy(torch._C.__file__, compiled)
    assert mmcv_ops.compiled_files() == [compiled]
    with pytest.raises(ImportError, match='PyInit__ext'):
        extension()
    # Not the light ones in silence.
    assert mmcv_ops.describe().startswith('none (')
    with pytest.raises(ConfigError, match='PyInit__ext.*mmcv_ops compile'):
        mmcv_ops.check_ops('mmdet')


def test_light_ops_by_choice(mmcv, capsys):
    compiled = mmcv / f'_ext{EXTENSION_SUFFIXES[0]}'
    compiled.write_text('compiled for another PyTorch')
    install.install_light_ops()
    assert capsys.readouterr().out == f'deleted {compiled}\n'
    assert not mmcv_ops.compiled_files()


@pytest.mark.parametrize(
    ('scope', 'line', 'needs'),
    [
        ('mmdet', 0, True),
        ('mmdet', 1, True),
        ('mmseg', 0, False),
        ('mmseg', 1, True),
        ('mmpretrain', 1, False),
        (None, 1, False),
    ],
)
def test_ops_that_do_not_load(site, scope, line, needs):
    for module in ('mmengine', 'mmcv'):
        site.install(lines.DISTRIBUTIONS[module][line], '2.1.0')
    site.module('mmcv')
    ops = site.folder / 'mmcv' / '_ext.py'
    ops.write_text("raise ImportError('undefined symbol: _ZN2at')")
    if needs:
        with pytest.raises(ConfigError, match='undefined symbol') as e:
            mmcv_ops.check_ops(scope)
        assert '`python -m mmfft.mmcv_ops compile`' in str(e.value)
        # What the message asks for is what helps.
        install.install_light_ops()
        (site.folder / 'mmfft').symlink_to(Path(mmcv_ops.__file__).parents[1])
        importlib.invalidate_caches()
    mmcv_ops.check_ops(scope)


def test_the_command_lines_ask_for_ops(tmp_path, monkeypatch):
    config = tmp_path / 'config.py'
    config.write_text("default_scope = 'mmdet'\n")
    load_config(str(config))
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    with pytest.raises(ConfigError, match='mmdet needs the ops of mmcv'):
        load_config(str(config))
    config.write_text("default_scope = 'mmpretrain'\n")
    load_config(str(config))


def test_mmfft_imported_too_late_says_so(mmcv, without_finder, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmdet.utils', importlib)
    with pytest.warns(UserWarning, match='mmdet was imported before mmfft'):
        mmcv_ops.provide()
    mmcv_ops.provide()  # once


def test_mmfft_imported_late_is_no_matter_where_ops_are(
    mmcv, without_finder, monkeypatch, recwarn
):
    (mmcv / '_ext.py').touch()
    importlib.invalidate_caches()
    monkeypatch.setitem(sys.modules, 'mmdet.utils', importlib)
    mmcv_ops.provide()
    assert not recwarn


# ------------------------------------------------------------------ compiling


@pytest.fixture
def sources(mmcv):
    folder = mmcv / 'ops' / 'csrc' / 'pytorch'
    (folder / 'cpu').mkdir(parents=True)
    return folder


def test_compiling_says_what_is_missing(mmcv, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match='has no sources'):
        install.compile_ops()
    (mmcv / 'ops' / 'csrc').mkdir(parents=True)
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(ConfigError, match='no-such-compiler.*install g'):
        install.compile_ops()
    monkeypatch.setenv('CXX', sys.executable)
    paths = dict(include=str(tmp_path))
    monkeypatch.setattr(sysconfig, 'get_path', paths.get)
    with pytest.raises(ConfigError, match=r'Python\.h is missing'):
        install.compile_ops()


def test_mmcv_that_is_not_installed(site):
    with pytest.raises(ConfigError, match='mmcv is not installed'):
        install.compile_ops()
    assert mmcv_ops.describe().startswith('none (')


def test_sources_are_gathered(sources, tmp_path):
    """Each file once, with names that do not meet those of another."""
    for name in ('pybind', 'nms', 'roi', 'cpu/nms', 'cpu/roi'):
        (sources / f'{name}.cpp').touch()
    front, cpu, binding = install._sources(sources.parent, tmp_path, False)
    assert binding == sources / 'pybind.cpp'
    included = [
        line.split('"')[1]
        for file in (front, cpu)
        for line in file.read_text().splitlines()
        if line.startswith('#include "')
    ]
    assert included == [
        str(sources / f'{name}.cpp')
        for name in ('nms', 'roi', 'cpu/nms', 'cpu/roi')
    ]
    assert '#define PreCalc PreCalc_of_roi' in cpu.read_text()
    (sources / 'cuda').mkdir()
    kernel = sources / 'cuda' / 'nms_cuda.cu'
    kernel.touch()
    assert kernel in install._sources(sources.parent, tmp_path, True)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('c++'), reason='needs a C++ compiler')
def test_a_small_extension_is_compiled(sources, monkeypatch, capsys):
    """The real compiler on sources of a few lines, optimised."""
    if not Path(sysconfig.get_path('include'), 'Python.h').exists():
        pytest.skip('this Python has no headers')
    common = sources.parent / 'common'
    common.mkdir()
    monkeypatch.setattr(install, '_HEADERS', ('Python.h', 'cmath'))
    body = 'static int add() { return 1; }\nint of_%s() { return add(); }\n'
    for name in ('cpu/first', 'cpu/second'):
        text = body % name.partition('/')[2]
        (sources / f'{name}.cpp').write_text(text)
    (sources / 'pybind.cpp').write_text(
        """
        #include <Python.h>
        #ifndef __OPTIMIZE__
        #error not optimised
        #endif
        int of_first();
        int of_second();
        static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_ext"};
        PyMODINIT_FUNC PyInit__ext() {
          PyObject *made = PyModule_Create(&module);
          PyModule_AddIntConstant(made, "sum", of_first() + of_second());
          return made;
        }
        """
    )
    install.compile_ops()
    assert 'compiling the ops of mmcv for the CPU: 3 files' in (
        capsys.readouterr().out
    )
    code = 'import mmcv._ext as ops; print(ops.sum, ops.__file__)'
    output = subprocess.check_output(
        [sys.executable, '-c', f'import torch; {code}'],
        cwd=sources.parents[3],
        text=True,
    )
    (compiled,) = mmcv_ops.compiled_files()
    assert output.split() == ['2', str(compiled)]
    (sources / 'pybind.cpp').write_text('#error so it is')
    with pytest.raises(ConfigError, match='the compiler failed'):
        install.compile_ops()
    assert 'so it is' in capsys.readouterr().out
    assert mmcv_ops.compiled_files() == [compiled]  # the one from before


def test_command_line(tmp_path):
    output = subprocess.check_output(
        [sys.executable, '-m', 'mmfft.mmcv_ops'], cwd=tmp_path, text=True
    )
    assert output.splitlines()[-1] == f'mmcv ops: {mmcv_ops.describe()}'
