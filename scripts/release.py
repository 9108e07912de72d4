#!/usr/bin/env python3
# Copyright (c) mmfft authors. All rights reserved.
"""Say whether what is built in dist/ may be published.

It may if it is one wheel and one source distribution of the version that the
git tag names, if the package says that its source is the repository that
publishes it, and if CHANGELOG.md has a dated section for the version.
"""

import argparse
import re
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('tag', help='git tag, such as v1.0.0')
    parser.add_argument(
        'repository', help='repository on GitHub that publishes, OWNER/NAME'
    )
    parser.add_argument(
        '--dist',
        type=Path,
        default=ROOT / 'dist',
        help='folder with the distributions',
    )
    return parser, parser.parse_args()


def only_file(dist, pattern):
    found = sorted(dist.glob(pattern))
    if len(found) != 1:
        names = [file.name for file in found]
        raise ValueError(
            f'{dist} must hold one {pattern}, got {names}: run make dist'
        )
    return found[0]


def metadata_of_wheel(file):
    with zipfile.ZipFile(file) as wheel:
        (name,) = (
            name
            for name in wheel.namelist()
            if re.fullmatch(r'[^/]+\.dist-info/METADATA', name)
        )
        return message_from_bytes(wheel.read(name))


def metadata_of_sdist(file):
    with tarfile.open(file) as sdist:
        (name,) = (
            name
            for name in sdist.getnames()
            if re.fullmatch(r'[^/]+/PKG-INFO', name)
        )
        return message_from_bytes(sdist.extractfile(name).read())


def check(metadata, tag, repository):
    """Compare a distribution's metadata with what is to be published."""
    version = metadata['Version']
    if tag != f'v{version}':
        raise ValueError(
            f'the tag is {tag!r}, but the version is {version!r}, whose tag '
            f"is 'v{version}': change mmfft/version.py or the tag"
        )
    urls = dict(
        line.split(', ', 1) for line in metadata.get_all('Project-URL')
    )
    if urls['Source'] != f'https://github.com/{repository}':
        raise ValueError(
            f'{repository!r} publishes, but the package says that its source '
            f'is {urls["Source"]}: change URL in setup.py, and the addresses '
            'that tests/test_project.py names'
        )


def check_changelog(version):
    text = ROOT.joinpath('CHANGELOG.md').read_text(encoding='utf-8')
    heading = rf'^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$'
    if not re.search(heading, text, re.M):
        raise ValueError(
            f'CHANGELOG.md has no section [{version}] with a date'
        )


def main():
    parser, args = parse_args()
    try:
        wheel = only_file(args.dist, '*.whl')
        sdist = only_file(args.dist, '*.tar.gz')
        for metadata in (metadata_of_wheel(wheel), metadata_of_sdist(sdist)):
            check(metadata, args.tag, args.repository)
        check_changelog(metadata['Version'])
    except ValueError as error:
        parser.error(str(error))
    print(f'{wheel.name} and {sdist.name} may be published as {args.tag}.')


if __name__ == '__main__':
    main()
