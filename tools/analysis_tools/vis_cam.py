# Copyright (c) mmfft authors. All rights reserved.
"""Class activation maps: mmpretrain's vis_cam.py, for channels-last layers.

Arguments and options are those of mmpretrain's tool.
"""

from mmfft.visualization.cam import load_vis_cam

if __name__ == '__main__':
    load_vis_cam().main()
