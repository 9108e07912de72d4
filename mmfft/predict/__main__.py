# Copyright (c) mmfft authors. All rights reserved.
"""Predict for pictures, videos and cameras, with any trained model.

INPUT is a picture, a folder of pictures (looked for at any depth), a video,
or - for paths on standard input, one a line or as `find -print0` writes them.
A line for each picture is printed. The pictures are drawn below DIR/vis with
the names that they have below the folder that contains them all; videos become
mp4. DIR/predictions.json has the predictions in COCO's format: what is drawn,
no more and no less (mmfft/predict/coco.py describes it).

Exit status: 0; 1 if some files could not be read, which are listed; 2 if the
call is wrong or nothing could be read; 130 after Ctrl-C, when all that was
predicted before is written.
"""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from mmengine.device import get_device

from ..engine import command_line, config_parser, load_config
from ..errors import ConfigError, require_whole_number
from ..version import __version__
from .coco import CocoPredictions
from .onnx_file import OnnxFile
from .output import Output
from .run import Model, Run
from .sources import VideoSource, find_sources
from .toolbox_model import ToolboxModel

PROGRAM = 'python -m mmfft.predict'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = config_parser(__doc__)
    parser.prog = PROGRAM
    parser.usage = (
        '%(prog)s CONFIG CHECKPOINT INPUT... [options]\n'
        '       %(prog)s MODEL.onnx INPUT... [options]'
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        'inputs',
        metavar='[CHECKPOINT] INPUT',
        nargs='*',
        help='checkpoint of the config, unless there is a file of '
        'tools/deployment/export_onnx.py in its place; then the inputs',
    )
    parser.add_argument(
        '--camera',
        type=int,
        metavar='N',
        help='number of a camera, from 0, after the inputs or instead; ends '
        'with Ctrl-C or --max-frames',
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        metavar='DIR',
        default=Path('predictions'),
        help='folder for vis and predictions.json (default: %(default)s)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='delete vis and predictions.json in that folder first',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='S',
        help='lowest score of an object that is drawn and written (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--device',
        help='such as cpu or cuda:0, for a config (default: a GPU if there '
        'is one)',
    )
    parser.add_argument(
        '--every',
        type=int,
        default=1,
        metavar='N',
        help='of a video, predict for every Nth frame; what is drawn takes '
        'as long as the video',
    )
    parser.add_argument(
        '--max-frames',
        type=int,
        metavar='N',
        help='end each video, or the camera, after N predictions',
    )
    parser.add_argument(
        '--no-pictures', action='store_true', help='draw nothing'
    )
    parser.add_argument(
        '--no-json', action='store_true', help='write no predictions.json'
    )
    # An option may stand between the inputs.
    return parser.parse_intermixed_args()


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with command_line(PROGRAM):
        unreadable = predict(args)
    for name, reason in unreadable.items():
        print(f'{PROGRAM}: {name} left out: {reason}', file=sys.stderr)
    if unreadable:
        sys.exit(1)


def predict(args: argparse.Namespace) -> dict[str, str]:
    """Predict as the command line says.

    Args:
        args (argparse.Namespace): Arguments.

    Returns:
        dict[str, str]: Why a source could not be read, by its name.

    Raises:
        ConfigError: If the call is wrong, or nothing can be read.
    """
    _check(args)
    output = Output(
        args.out_dir,
        args.overwrite,
        pictures=not args.no_pictures,
        json=not args.no_json,
    )
    is_onnx = args.config.lower().endswith('.onnx')
    checkpoint, inputs = None, args.inputs
    if not is_onnx:
        checkpoint, *inputs = inputs or [None]
    top, sources = find_sources(inputs, without=output.pictures)
    if args.camera is not None:
        sources.append(VideoSource(args.camera, f'camera-{args.camera}'))
    if not sources:
        raise ConfigError(
            'INPUT is missing: pictures, folders, videos, - or --camera'
            if is_onnx or checkpoint
            else 'CHECKPOINT and INPUT are missing'
        )
    output.check(sources)
    model: Model
    if is_onnx:
        _refuse_for_onnx(args)
        model = OnnxFile(args.config)
    else:
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        model = ToolboxModel(cfg, checkpoint, args.device or get_device())
    info = dict(
        description=f'Predictions of mmfft {__version__}',
        model=args.config,
        checkpoint=checkpoint,
        folder=top and str(top),
        score_thr=args.score_thr,
        date_created=datetime.now().isoformat(timespec='seconds'),
    )
    run = Run(
        model,
        output,
        CocoPredictions(model.classes, info),
        args.score_thr,
        args.every,
        args.max_frames,
    )
    unreadable = run(sources)
    print(run.summary())
    return unreadable


def _refuse_for_onnx(args: argparse.Namespace) -> None:
    for option in ('device', 'cfg_options'):
        if getattr(args, option) is not None:
            raise ConfigError(
                f'--{option.replace("_", "-")} is for a config, and '
                f'{args.config!r} is an ONNX file'
            )


def _check(args: argparse.Namespace) -> None:
    numbers = dict(every=1, max_frames=1, camera=0)
    for name, least in numbers.items():
        value = getattr(args, name)
        if value is not None:
            option = f'--{name.replace("_", "-")}'
            require_whole_number(option, value, least)
    if not 0 <= args.score_thr <= 1:
        raise ConfigError(
            f'--score-thr must be from 0 to 1, got {args.score_thr}'
        )


if __name__ == '__main__':
    main()
