# Copyright (c) mmfft authors. All rights reserved.
"""The two lines of OpenMMLab: what is installed, and where they differ.

OneDL's distributions (``onedl-mmcv``, ...) and the original ones (``mmcv``,
...) have the same modules. Everything that mmfft does for the sake of one of
the lines is here. This module imports neither, so that it can say what is
wrong even if they cannot be imported.
"""

import importlib.util
import re
import warnings
from importlib import metadata
from pathlib import Path

# For each module: OneDL's distribution, the original one, and others that
# install the same files.
DISTRIBUTIONS = {
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
}


def installed(module: str) -> dict[str, metadata.Distribution]:
    """Find the installed distributions of a module.

    Args:
        module (str): A key of ``DISTRIBUTIONS``.

    Returns:
        dict[str, Distribution]: Distributions by name; more than one if they
        have overwritten each other's files.
    """
    found = {}
    for name in DISTRIBUTIONS[module]:
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def installed_line() -> str:
    """Return ``'onedl'`` or ``'upstream'``, depending on mmengine."""
    return 'onedl' if 'onedl-mmengine' in installed('mmengine') else 'upstream'


def conflicts() -> list[str]:
    """Find installed distributions that cannot work together.

    Only metadata and files are read: nothing is imported.

    Returns:
        list[str]: One message per conflict, which also says how to fix it.
    """
    found = {module: installed(module) for module in DISTRIBUTIONS}
    messages = []
    doubled = {m: names for m, names in found.items() if len(names) > 1}
    if doubled:
        pairs = ', '.join(' and '.join(names) for names in doubled.values())
        every = ' '.join(name for names in doubled.values() for name in names)
        first = ' '.join(DISTRIBUTIONS[module][0] for module in doubled)
        second = ' '.join(DISTRIBUTIONS[module][1] for module in doubled)
        messages.append(
            f'{pairs} are installed together and have overwritten each '
            "other's files. Keep one line of OpenMMLab: "
            f'pip uninstall -y {every} && pip install {first} (or {second})'
        )
    if found['mmcv']:
        name, mmcv = next(iter(found['mmcv'].items()))
        for module in ('mmdet', 'mmseg', 'mmpretrain'):
            if found[module]:
                messages += _refusals(module, name, mmcv.version)
    return messages


def _refusals(module: str, mmcv: str, version: str) -> list[str]:
    """Messages if a toolbox's own assertion rejects this mmcv, or none."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.origin:
        return []
    # mmdet and mmpretrain write mmcv_minimum_version, mmseg MMCV_MIN.
    bounds = dict(
        re.findall(
            r"^mmcv_(min|max)(?:imum_version)? *= *'(.+?)'",
            Path(spec.origin).read_text(encoding='utf-8'),
            re.IGNORECASE | re.MULTILINE,
        )
    )
    bounds = {key.lower(): bound for key, bound in bounds.items()}
    if set(bounds) != {'min', 'max'}:
        return []
    # If it is missing, no toolbox can compare versions either.
    from packaging.version import Version

    low, high = bounds['min'], bounds['max']
    if Version(low) <= Version(version) < Version(high):
        return []
    return [
        f'{module} does not accept {mmcv} {version}, only >={low},<{high}: '
        f"pip install '{mmcv}>={low},<{high}'"
    ]


def warn_of_conflicts() -> None:
    """Issue a warning for each of :func:`conflicts`."""
    for message in conflicts():
        warnings.warn(message, stacklevel=2)
