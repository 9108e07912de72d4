# Copyright (c) mmfft authors. All rights reserved.
"""Show in the browser what a model sees in an image, and its filters.

Choose one of the checkpoints that `make demo` trained, or give a config and a
checkpoint of your own. The page can be reached only from this machine unless
--host says otherwise.
"""

import argparse
import functools
import os
from pathlib import Path

from mmengine.config import Config

from mmfft.demo import CONFIGS
from mmfft.demo.predictor import Predictor
from mmfft.engine import command_line, load_config
from mmfft.errors import ConfigError

# The checkout, or `mmfft/.mim` of an installed package.
ROOT = Path(__file__).resolve().parents[1]
TITLES = dict(
    cls='classify a digit',
    det='detect digits (Mask R-CNN)',
    seg='segment digits (Semantic FPN)',
)
# Too large an image would stop a small machine.
LARGEST_SIDE = 1024


def trained_models(work_dir: Path) -> dict[str, tuple[str, str]]:
    """Find config and checkpoint of what the demo trained, by title.

    The folder's name says which demo it was; `demo` if it has another name.
    """
    models = {}
    configs = CONFIGS.get(work_dir.name, CONFIGS['demo'])
    for part, config in configs.items():
        last = work_dir / part / 'last_checkpoint'
        if not last.is_file():
            continue
        # Only its name, since it may have been trained elsewhere.
        checkpoint = work_dir / part / Path(last.read_text().strip()).name
        if checkpoint.is_file():
            path = ROOT / 'configs' / 'demo' / config
            models[TITLES[part]] = (str(path), str(checkpoint))
    return models


def sample_images(data: Path) -> list[str]:
    """Choose three scenes and three crops of the validation split."""
    scenes = sorted((data / 'scenes' / 'images' / 'validation').glob('*.png'))
    crops = [
        next((data / 'crops' / 'val' / digit).glob('*.png'), None)
        for digit in '358'
    ]
    return [str(path) for path in [*scenes[2:5], *crops] if path]


@functools.lru_cache(maxsize=3)
def predictor(config: str, checkpoint: str) -> Predictor:
    cfg: Config = load_config(config)
    return Predictor(cfg, checkpoint)


def look(
    models: dict, title: str, image: str | None, height: float, width: float
):
    """Compute what the page shows: picture, text, filters, latency.

    Raises:
        ConfigError: If the model or the image is missing or not valid.
    """
    if title not in models:
        raise ConfigError(f'choose a model, one of {list(models)}')
    if not image:
        raise ConfigError('drop an image or pick a sample')
    model = predictor(*models[title])
    picture, text = model.show(image)
    filters = model.filters(image)
    size = int(height), int(width)
    if max(size) > LARGEST_SIDE:
        raise ConfigError(
            f'height and width must be at most {LARGEST_SIDE} pixels, got '
            f'{size[0]}x{size[1]}'
        )
    seconds = model.latency(*size)
    latency = (
        f'{1e3 * seconds:.1f} ms for the backbone, one image of '
        f'{size[0]} × {size[1]} on the CPU (median of 5)'
    )
    return picture, text, filters, latency


def build_page(models: dict, samples: list[str]):
    """Build the page, ready to be launched."""
    # Gradio must neither report its use nor ask for newer versions.
    os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
    try:
        import gradio as gr
    except ImportError as error:
        raise ImportError(
            f'the page cannot be shown ({error}): pip install "mmfft[app]"'
        ) from error

    def show(*chosen):
        try:
            return look(models, *chosen)
        except ConfigError as error:
            raise gr.Error(str(error)) from error

    with gr.Blocks(title='mmfft', analytics_enabled=False) as page:
        gr.Markdown(
            '# What the network sees\nFourier backbones: the answer, and the '
            'filters at work on the image.'
        )
        with gr.Row():
            with gr.Column(scale=1):
                model = gr.Radio(
                    list(models), value=next(iter(models)), label='Model'
                )
                image = gr.Image(
                    type='filepath',
                    sources=['upload', 'clipboard'],
                    label='Image',
                )
                if samples:
                    gr.Examples(samples, image, label='Samples')
                height, width = (
                    gr.Slider(32, LARGEST_SIDE, 224, step=32, label=label)
                    for label in ('Height for the latency', 'Width')
                )
                run = gr.Button('Look', variant='primary')
            with gr.Column(scale=2):
                picture = gr.Image(label='Result', interactive=False)
                text = gr.Textbox(label='In words', interactive=False)
                latency = gr.Textbox(label='Latency', interactive=False)
        filters = gr.Image(
            label='Filters at work on this image', interactive=False
        )
        run.click(
            show,
            [model, image, height, width],
            [picture, text, filters, latency],
        )
    return page


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', help='config of a model of your own')
    parser.add_argument('--checkpoint', help='its checkpoint')
    parser.add_argument(
        '--work-dir',
        default='work_dirs/demo',
        help='folder of the demo, or work_dirs/demo-full',
    )
    parser.add_argument('--data', default='data/digit_scenes')
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen on'
    )
    parser.add_argument('--port', type=int, default=7860)
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('app.py'):
        models = trained_models(Path(args.work_dir))
        if (args.config is None) != (args.checkpoint is None):
            raise ConfigError(
                '--config and --checkpoint must be given together'
            )
        if args.config:
            own = (args.config, args.checkpoint)
            predictor(*own)  # so that errors are reported here
            models = {Path(args.config).stem: own, **models}
        if not models:
            raise ConfigError(
                f'no trained model in {args.work_dir!r}: train one with '
                '`make demo` or demo/run.py, or give --config and '
                '--checkpoint'
            )
    page = build_page(models, sample_images(Path(args.data)))
    page.launch(
        server_name=args.host,
        server_port=args.port,
        # Gradio itself rejects files that are not images, silently otherwise.
        show_error=True,
        footer_links=[],
    )


if __name__ == '__main__':
    main()
