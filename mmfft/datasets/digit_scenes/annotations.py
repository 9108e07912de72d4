# Copyright (c) mmfft authors. All rights reserved.
"""Annotations of the pictures of a data set."""

from collections import Counter

import numpy as np

from .config import CLASSES, NAME, SCENE_FOLDERS, VERSION
from .sources import LICENCES, PHOTOS


def annotate(
    owner: np.ndarray, labels: np.ndarray, digits: list[int]
) -> list[dict]:
    """Make the COCO annotations of a scene, without ids.

    Args:
        owner (np.ndarray): Array (H, W): for each pixel 0, or 1 + the position
            in ``digits`` of the digit that owns it.
        labels (np.ndarray): Classes of the digits, (N, ).
        digits (list[int]): Indices of the digits in the source.

    Returns:
        list[dict]: One annotation per digit.
    """
    from pycocotools import mask as coco_mask

    annotations = []
    for place, (label, digit) in enumerate(zip(labels, digits), 1):
        rle = coco_mask.encode(np.asfortranarray(owner == place, np.uint8))
        annotations.append(
            dict(
                category_id=int(label) + 1,
                bbox=coco_mask.toBbox(rle).astype(int).tolist(),
                area=int(coco_mask.area(rle)),
                iscrowd=0,
                segmentation=dict(
                    size=rle['size'], counts=rle['counts'].decode('ascii')
                ),
                digit_index=digit,
            )
        )
    return annotations


def as_coco(scenes: list[dict], split: str) -> dict:
    """Make the content of the COCO file of a split.

    Args:
        scenes (list[dict]): File name, photo, height, width and annotations
            of each scene.
        split (str): 'train' or 'val'.

    Returns:
        dict: Content of the file, ready for JSON.
    """
    licences = {name: i for i, name in enumerate(LICENCES, 1)}
    images, annotations = [], []
    for image_id, scene in enumerate(scenes, 1):
        images.append(
            dict(
                id=image_id,
                file_name=scene['file_name'],
                height=scene['height'],
                width=scene['width'],
                license=licences[PHOTOS[split][scene['photo']].licence],
                photo=scene['photo'],
            )
        )
        for annotation in scene['annotations']:
            annotations.append(
                dict(id=len(annotations) + 1, image_id=image_id) | annotation
            )
    return dict(
        info=dict(
            description=f'{NAME}, {SCENE_FOLDERS[split]} split',
            version=VERSION,
            contributor='mmfft',
        ),
        licenses=[
            dict(id=i, name=name, url=LICENCES[name])
            for name, i in licences.items()
        ],
        categories=[
            dict(id=i, name=name, supercategory='digit')
            for i, name in enumerate(CLASSES, 1)
        ],
        images=images,
        annotations=annotations,
    )


def count(crops: list[dict], scenes: list[dict]) -> dict:
    """Count the pictures and digits of a split, for the manifest.

    Args:
        crops (list[dict]): Records of the crops.
        scenes (list[dict]): File name, photo and annotations of each scene.

    Returns:
        dict: Numbers by name.
    """
    per_class = Counter(
        annotation['category_id']
        for scene in scenes
        for annotation in scene['annotations']
    )
    return dict(
        crops=len(crops),
        scenes=len(scenes),
        empty_scenes=sum(not scene['annotations'] for scene in scenes),
        instances=per_class.total(),
        instances_per_class=[per_class[i] for i in range(1, len(CLASSES) + 1)],
    )
