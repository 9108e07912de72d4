# Copyright (c) mmfft authors. All rights reserved.
"""Test a file of export_onnx.py on the test data of a config.

The data, the data preprocessor and the metrics are the config's own; the
network is run outside of PyTorch.
"""

from mmfft.datasets.check import check_before_run
from mmfft.datasets.paths import check_data
from mmfft.deploy.testing import exported_runner
from mmfft.engine import (
    apply_test_options,
    command_line,
    config_parser,
    dump_metrics,
    load_config,
)
from mmfft.runtime.engines import RUNTIMES
from mmfft.runtime.onnx_model import ExportedFile


def parse_args():
    parser = config_parser(__doc__)
    parser.add_argument('model', help='file of export_onnx.py')
    parser.add_argument('--work-dir', help='folder for logs and results')
    parser.add_argument(
        '--out',
        nargs='+',
        default=[],
        help='files for results: .json for metrics, .pkl for predictions, or '
        'both',
    )
    parser.add_argument(
        '--skip-data-check',
        action='store_true',
        help='run without a check of annotations and folders',
    )
    parser.add_argument(
        '--runtime',
        choices=RUNTIMES,
        default='onnxruntime',
        help='package that runs the file (default: %(default)s)',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('test_onnx.py'):
        cfg = load_config(args.config, args.work_dir, args.cfg_options)
        apply_test_options(cfg, None, args.out)
        check_data(cfg, 'test')
        runner = exported_runner(cfg, ExportedFile(args.model, args.runtime))
        if not args.skip_data_check:
            check_before_run(cfg, runner.logger, 'test')
        dump_metrics(runner.test(), args.out)


if __name__ == '__main__':
    main()
