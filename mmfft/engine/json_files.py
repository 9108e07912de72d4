# Copyright (c) mmfft authors. All rights reserved.
"""Files of JSON that a kill leaves whole."""

import json
from pathlib import Path


def write_json(
    path: Path, content: dict | list, indent: int | None = 2
) -> None:
    """Write a JSON file that is never half there, even after a kill.

    Args:
        path (Path): Path of the file; its folder is made.
        content (dict | list): What to write.
        indent (int, optional): Spaces of each level, None for a single line.
            Defaults to 2.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}')
    temporary.write_text(json.dumps(content, indent=indent) + '\n')
    temporary.replace(path)
