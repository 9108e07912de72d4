# Copyright (c) mmfft authors. All rights reserved.
import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

URL = 'https://github.com/mmfft/mmfft'

# A relative link or picture in Markdown.
LINK = re.compile(
    r'(?P<before>(?P<picture>!?)\[[^]]*\]\()(?P<path>(?!\w+:|#)[^)]+)\)'
)

# What MIM and the toolboxes look for in `mmfft/.mim`.
MIM_NAMES = (
    'configs',
    'demo',
    'tools',
    'model-index.yml',
    'dataset-index.yml',
)


def read_version():
    text = (ROOT / 'mmfft' / 'version.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", text, re.M).group(1)


def read_readme():
    """The README, whose links lead to the files of this version's tag."""
    readme = ROOT / 'README.md'
    if not readme.exists():
        return ''
    text = readme.read_text(encoding='utf-8')
    # In code, brackets before parentheses are no links.
    parts = re.split(r'(```.*?```)', text, flags=re.S)
    parts[::2] = (LINK.sub(lead_to_tag, part) for part in parts[::2])
    return ''.join(parts)


def lead_to_tag(link):
    kind = 'raw' if link['picture'] else 'blob'
    return f'{link["before"]}{URL}/{kind}/v{read_version()}/{link["path"]})'


def read_requirements(name):
    """The requirements in a file and in those that it names with ``-r``."""
    file = ROOT / name
    lines = file.read_text(encoding='utf-8').splitlines()
    found = []
    for line in filter(None, (line.split('#')[0].strip() for line in lines)):
        if line.startswith('-r '):
            found += read_requirements(file.parent / line[3:].strip())
        else:
            found.append(line)
    return found


class BuildWithMim(build_py):
    """Builds the package and fills `mmfft/.mim`.

    `configs` and `tools` must travel with the package, but never as top-level
    packages: in site-packages they would hijack the inferencers of every
    OpenMMLab library. An editable install gets links in the checkout, anything
    else gets copies. The copies go straight into the build folder, not into
    the checkout: building a wheel would otherwise turn the links of a
    developer's editable install into stale copies.
    """

    def run(self):
        super().run()
        if self.editable_mode:
            self.fill_mim(ROOT / 'mmfft' / '.mim', link=True)
        else:
            self.fill_mim(Path(self.build_lib, 'mmfft', '.mim'), link=False)

    def fill_mim(self, folder, link):
        if folder.is_symlink():
            folder.unlink()
        # Start afresh: leftovers of an earlier build must not be shipped.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in MIM_NAMES:
            source, target = ROOT / name, folder / name
            if not source.exists():
                continue
            if link and self.make_link(source, target):
                continue
            if source.is_dir():
                ignore = shutil.ignore_patterns('__pycache__', '*.py[cod]')
                shutil.copytree(source, target, ignore=ignore)
            else:
                shutil.copy2(source, target)

    @staticmethod
    def make_link(source, target):
        # Relative, so that a checkout can be moved.
        source = os.path.relpath(source, target.parent)
        try:
            os.symlink(source, target, os.path.isdir(source))
        except OSError:  # Windows without permission to make links
            return False
        return True


extras = {
    name: read_requirements(f'requirements/{name}.txt')
    for name in ('tests', 'docs', 'export', 'openvino', 'demo', 'vis', 'app')
}
extras['openmmlab'] = read_requirements('requirements/onedl.txt')
extras['all'] = sorted(set(sum(extras.values(), [])))
# One environment holds one line of OpenMMLab, not whole beside transformers 5.
extras['hub'] = read_requirements('requirements/hub.txt')
extras['openmmlab-original'] = read_requirements('requirements/upstream.txt')

setup(
    name='mmfft',
    version=read_version(),
    description='Fourier token mixers as backbones for OpenMMLab and timm',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    author='The mmfft Authors',
    project_urls={
        'Homepage': URL,
        'Documentation': f'{URL}/tree/main/docs',
        'Source': URL,
        'Issues': f'{URL}/issues',
        'Changelog': f'{URL}/blob/main/CHANGELOG.md',
    },
    license_expression='Apache-2.0',
    license_files=['LICENSE'],
    keywords=[
        'computer vision',
        'backbone',
        'token mixer',
        'Fourier transform',
        'GFNet',
        'DFFormer',
        'CDFFormer',
        'OpenMMLab',
        'timm',
        'PyTorch',
    ],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: 3.14',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    python_requires='>=3.10',
    # With a package_dir, or without `include`, an editable install would put
    # the checkout itself on sys.path, and `configs` and `tools` with it.
    packages=find_packages(include=['mmfft', 'mmfft.*']),
    package_data={'mmfft': ['py.typed']},
    install_requires=read_requirements('requirements/core.txt'),
    extras_require=extras,
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
