# Copyright (c) mmfft authors. All rights reserved.
"""Class activation maps: mmpretrain's vis_cam.py, for channels-last layers.

Arguments and options are those of mmpretrain's tool.
"""

from mmfft.engine import command_line
from mmfft.visualization.cam import load_vis_cam


def main():
    with command_line('vis_cam.py'):
        load_vis_cam().main()


if __name__ == '__main__':
    main()
