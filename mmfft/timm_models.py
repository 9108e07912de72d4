# Copyright (c) mmfft authors. All rights reserved.
"""The models for timm by name, registered by importing this module.

.. code-block:: python

    import mmfft.timm_models
    import timm

    model = timm.create_model('cdfformer_s18', features_only=True)

Backbones and classifiers are those of every other task. Parameters have the
names of an mmpretrain ``ImageClassifier`` of ours, so that a checkpoint
trained there loads here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import SelectAdaptivePool2d
from timm.models import (
    PretrainedCfg,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    register_notrace_module,
    resolve_pretrained_cfg,
)
from timm.models._features import feature_take_indices
from torch import Tensor, nn

try:
    # What save_for_hf() says of the model.
    from timm.models._input import update_model_input_size
except ImportError:  # earlier versions of timm, which record no sizes
    update_model_input_size = None  # type: ignore[assignment]

from .checkpoints import (
    convert_published,
    is_published,
    register_allowed_globals,
)
from .checkpoints.zoo import published_names, url_of
from .errors import ConfigError, require_one_of
from .models import (
    CDFFormer,
    DFFormer,
    FourierBackbone,
    GFFormer,
    GFNet,
    GFNetPyramid,
    MetaFormer,
    MlpClassifier,
)
from .models.initialization import initialize
from .ops.spectrum import Grid

__all__ = ['FourierClassifier', 'LinearClassifier', 'checkpoint_filter_fn']


class LinearClassifier(nn.Module):
    """Dropout and a linear layer, the classifier of GFNet.

    Args:
        num_classes (int): Number of classes; 0 for no linear layer.
        in_channels (int): Channels of the pooled features.
        dropout (float): Dropout before the linear layer. Defaults to 0.
    """

    def __init__(
        self, num_classes: int, in_channels: int, dropout: float = 0.0
    ):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = (
            nn.Linear(in_channels, num_classes)
            if num_classes
            else nn.Identity()
        )

    def pre_logits(self, x: Tensor) -> Tensor:
        """Features before the last layer, ``x`` itself."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(..., C) -> (..., num_classes)``."""
        return self.fc(self.dropout(x))


class FourierClassifier(nn.Module):
    """One of our backbones and its classifier, as timm expects a model.

    Args:
        backbone (type): Class of the backbone. The MetaFormer family has the
            MLP classifier of its publication, GFNets a linear one.
        arch (str | dict): Architecture of the backbone.
        num_classes (int): Number of classes; 0 for the features before the
            last layer. Defaults to 1000.
        in_chans (int): Channels of the image. Defaults to 3.
        img_size (int | tuple[int, int]): Input size ``(H, W)`` that filters
            are stored for; any other input size works. Defaults to 224.
        global_pool (str): ``'avg'``, ``'max'``, ``'avgmax'``, or ``''`` for
            an output at every position. Defaults to ``'avg'``.
        drop_rate (float): Dropout before the last layer. Defaults to 0.
        drop_path_rate (float): Stochastic depth of the last block. Defaults
            to 0.
        output_stride (int, optional): The stride of the last features, which
            other models of timm can change and these cannot. Defaults to
            what it is.
        **kwargs: Other arguments of the backbone, such as
            ``filter_resize`` and ``boundary``.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(
        self,
        backbone: type[FourierBackbone],
        arch: str | dict,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | Grid = 224,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        output_stride: int | None = None,
        **kwargs,
    ):
        super().__init__()
        mlp = issubclass(backbone, MetaFormer)
        self.backbone = backbone(
            arch,
            in_channels=in_chans,
            img_size=img_size,
            drop_path_rate=drop_path_rate,
            out_indices=-1,
            out_norm=not mlp,
            **kwargs,
        )
        self.feature_info = _feature_info(self.backbone)
        stride = self.feature_info[-1]['reduction']
        if output_stride not in (None, stride):
            raise ConfigError(
                f'output_stride={output_stride!r}: the last features of '
                f'{backbone.__name__} have a stride of {stride}, which cannot '
                'be changed; out_indices selects earlier ones'
            )
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.num_features = self.feature_info[-1]['num_chs']
        self.global_pool = _pool(global_pool)
        self.head: MlpClassifier | LinearClassifier = (
            MlpClassifier if mlp else LinearClassifier
        )(num_classes, self.num_features, dropout=drop_rate)
        self.head_hidden_size: int = (
            self.head.fc1.out_features
            if isinstance(self.head, MlpClassifier)
            else self.num_features
        )
        self._classifier = 'fc2' if mlp else 'fc'
        self._init_parameters(self.head)

    def _init_parameters(self, module: nn.Module) -> None:
        backbone = self.backbone
        initialize(module, backbone.init, backbone.truncated_normal_layers)

    def no_weight_decay(self) -> set[str]:
        # What the published training does not decay, besides one-dimensional
        # parameters.
        return {'backbone.pos_embed.weight'}

    def group_matcher(self, coarse: bool = False) -> dict | Callable:
        """Groups of parameters from the stem to the head, as timm has them.

        Args:
            coarse (bool): One group per stage, not per block. Defaults
                to False.

        Returns:
            dict | Callable: For ``timm.models.group_parameters``.
        """
        if not coarse:
            return lambda name: self.backbone.get_layer_depth(
                name, 'backbone.'
            )[0]
        return dict(
            stem=r'^backbone\.(?:downsample_layers\.0\.|pos_embed\.'
            r'|patch_embed\.(?:0\.|proj\.))',
            blocks=r'^backbone\.(?:downsample_layers|stages|patch_embed'
            r'|blocks)\.(\d+)\.',
        )

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass to save memory."""
        self.backbone.with_cp = enable

    def set_input_size(self, img_size: int | Grid | None = None) -> None:
        """Store filters and position embedding for another input size.

        Any size works without it. Afterwards the model is as one that was
        created with this ``img_size`` and has loaded the weights, and images
        of this size need no resizing of filters. What is resized is a new
        parameter, which an optimizer made before does not know.

        Args:
            img_size (int | tuple[int, int], optional): Input size ``(H, W)``.
                Defaults to the current one.

        Raises:
            ConfigError: If it is not a size, or too small for the stem.
        """
        if img_size is not None:
            self.backbone.set_img_size(img_size)
        if update_model_input_size is not None:
            update_model_input_size(self, self.backbone.img_size)

    def get_classifier(self) -> nn.Module:
        """The last layer, an identity where there are no classes."""
        return getattr(self.head, self._classifier)

    def reset_classifier(
        self, num_classes: int, global_pool: str | None = None
    ) -> None:
        """Replace the last layer by a new one.

        Args:
            num_classes (int): Number of classes; 0 for no last layer.
            global_pool (str, optional): Replaces the pooling too.
        """
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = _pool(global_pool)
        layer = (
            nn.Linear(self.head_hidden_size, num_classes)
            if num_classes
            else nn.Identity()
        )
        self._init_parameters(layer)
        like = next(self.backbone.parameters())
        setattr(self.head, self._classifier, layer.to(like.device, like.dtype))
        self.train(self.training)

    def forward_features(self, x: Tensor) -> Tensor:
        """Image ``(B, in_chans, H, W)`` to features ``(B, C, H', W')``."""
        return self.backbone(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Features to logits.

        Args:
            x (Tensor): Shape ``(B, C, H, W)``.
            pre_logits (bool): Whether to stop before the last layer.
                Defaults to False.

        Returns:
            Tensor: Shape ``(B, num_classes)``, or ``(B, num_classes, H, W)``
            without pooling.
        """
        x = self.global_pool(x)
        if self.global_pool.is_identity():
            # The layers of the head work on the last axis.
            x = x.permute(0, 2, 3, 1)
        x = self.head.pre_logits(x) if pre_logits else self.head(x)
        if self.global_pool.is_identity():
            x = x.permute(0, 3, 1, 2)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Image ``(B, in_chans, H, W)`` to logits ``(B, num_classes)``."""
        return self.forward_head(self.forward_features(x))

    @property
    def _last(self) -> int:
        return self.backbone.out_indices[-1]

    def _has_norm(self, level: int) -> bool:
        """Whether the final norm fits the features of a level."""
        return level == self._last or isinstance(self.backbone, GFNet)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Features of several levels: stages, or the blocks of GFNet.

        Args:
            x (Tensor): Shape ``(B, in_chans, H, W)``.
            indices (int | list[int], optional): The last n levels, or
                these. Defaults to all.
            norm (bool): Whether the final norm is applied to what it fits,
                the last level or every block of GFNet. Defaults to False.
            stop_early (bool): Whether to compute nothing after the last of
                ``indices``. Defaults to False.
            output_fmt (str): Layout of the levels, ``'NCHW'`` or ``'NHWC'``.
                Defaults to ``'NCHW'``.
            intermediates_only (bool): Whether to leave out the final
                features. Defaults to False.

        Returns:
            list[Tensor] | tuple[Tensor, list[Tensor]]: The levels, after the
            final features ``(B, C, H, W)`` unless left out.

        Raises:
            ConfigError: If the layout is unknown.
        """
        require_one_of('output_fmt', output_fmt, ('NCHW', 'NHWC'))
        take, end = feature_take_indices(self._last + 1, indices)
        if not (stop_early or intermediates_only):
            end = self._last
        levels = sorted({*take, end})
        outs = dict(zip(levels, self.backbone.forward_levels(x, levels)))

        def finish(level, norm, channels_first):
            x = outs[level]
            if norm and self._has_norm(level):
                x = getattr(self.backbone, f'norm{self._last}')(x)
            return (
                x.permute(0, 3, 1, 2) if channels_first else x
            ).contiguous()

        intermediates = [
            finish(level, norm, output_fmt == 'NCHW')
            for level in levels
            if level in take
        ]
        if intermediates_only:
            return intermediates
        return finish(end, True, True), intermediates

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Drop what some levels do not need.

        Args:
            indices (int | list[int]): The last n levels, or these.
                Defaults to 1.
            prune_norm (bool): Whether to drop the final norm, which goes in
                any case where it fits no remaining level. Defaults to False.
            prune_head (bool): Whether to drop the classifier, which goes in
                any case where the last level does. Defaults to True.

        Returns:
            list[int]: The levels, counted from the first.
        """
        take, end = feature_take_indices(self._last + 1, indices)
        backbone, last = self.backbone, self._last
        for name in (backbone.entry_layers, backbone.level_layers):
            layers = getattr(backbone, name)
            if isinstance(layers, nn.ModuleList):
                setattr(backbone, name, layers[: end + 1])
        norm = getattr(backbone, f'norm{last}')
        if prune_norm or not self._has_norm(end):
            norm = nn.Identity()
        delattr(backbone, f'norm{last}')
        backbone.add_module(f'norm{end}', norm)
        backbone.out_indices = (end,)
        if prune_head or end < last:
            self.num_features = self.feature_info[end]['num_chs']
            self.head_hidden_size = self.num_features
            self.head = LinearClassifier(0, self.num_features)
            self._classifier = 'fc'
            self.reset_classifier(0, '')
        return take


def _pool(global_pool: str) -> SelectAdaptivePool2d:
    pool = SelectAdaptivePool2d(
        pool_type=global_pool, flatten=bool(global_pool)
    )
    if pool.feat_mult() != 1:
        raise ConfigError(
            f'global_pool={global_pool!r} changes the number of channels: '
            "choose 'avg', 'max', 'avgmax' or ''"
        )
    return pool


def _feature_info(backbone: FourierBackbone) -> list[dict]:
    strides = [4, 8, 16, 32]
    if isinstance(backbone, GFNet):
        strides = [backbone.patch_embed.patch] * backbone.num_levels
    layers = f'backbone.{backbone.level_layers}'
    return [
        dict(num_chs=dim, reduction=stride, module=f'{layers}.{i}')
        for i, (dim, stride) in enumerate(zip(backbone.dims, strides))
    ]


def checkpoint_filter_fn(state_dict: dict, model: nn.Module) -> dict:
    """Checkpoint to the names of :class:`FourierClassifier`.

    Args:
        state_dict (dict): A published checkpoint, one of our mmpretrain
            classifiers or one of this module.
        model (nn.Module): The model to load it.

    Returns:
        dict: The state dict in our names.
    """
    state_dict = state_dict.get('model', state_dict)
    if is_published(state_dict):
        return convert_published(state_dict)
    return state_dict


# What follows registers the models.

_S18_ABLATIONS: dict[str, dict] = {
    'k2': dict(num_filters=2),
    'd8': dict(reweight_ratio=0.125),
    'gelu': dict(act_layer=nn.GELU),
    'relu': dict(act_layer=nn.ReLU),
    'afno': dict(token_mixers=('AFNO2D',) * 4),
}
_VARIANTS: dict[str, tuple[type[FourierBackbone], str, dict]] = {
    **{f'dfformer_{arch}': (DFFormer, arch, {}) for arch in DFFormer.arch_zoo},
    **{
        f'cdfformer_{arch}': (CDFFormer, arch, {})
        for arch in CDFFormer.arch_zoo
    },
    'gfformer_s18': (GFFormer, 's18', {}),
    **{
        f'dfformer_s18_{name}': (DFFormer, 's18', options)
        for name, options in _S18_ABLATIONS.items()
    },
    **{
        f'gfnet_{arch.replace("-", "_")}': (backbone, arch, {})
        for backbone in (GFNet, GFNetPyramid)
        for arch in backbone.arch_zoo
    },
}


def _is_published(variant: str) -> bool:
    """Whether a variant is of a paper, and not of mmfft's own."""
    backbone, arch, _ = _VARIANTS[variant]
    return arch not in backbone.small_archs


def _default_cfgs(name: str, backbone: type[FourierBackbone]) -> dict:
    """What timm wants to know about a variant, as published."""
    cfg: dict[str, Any] = dict(
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        interpolation='bicubic',
        license='mit',
    )
    if issubclass(backbone, MetaFormer):
        cfg.update(
            crop_pct=1.0,
            pool_size=(7, 7),
            first_conv='backbone.downsample_layers.0.conv',
            classifier='head.fc2',
            origin_url='https://github.com/okojoalg/dfformer',
            paper_ids='arXiv:2303.03932',
        )
    else:
        pyramid = issubclass(backbone, GFNetPyramid)
        cfg.update(
            # Its evaluation resizes to 256 for 224.
            crop_pct=0.875,
            pool_size=(7, 7) if pyramid else (14, 14),
            first_conv='backbone.patch_embed.' + ('0.' * pyramid) + 'proj',
            classifier='head.fc',
            origin_url='https://github.com/raoyongming/GFNet',
            paper_ids='arXiv:2107.00645',
        )
    if not _is_published(name):
        del cfg['origin_url']
        cfg.update(
            license='apache-2.0',
            description='a small arch of mmfft, without published weights',
        )
    released = f'{name.replace("_", "-")}_in1k'
    if released in published_names() and url_of(released):
        return {f'{name}.in1k': dict(cfg, url=url_of(released))}
    return {name: cfg}


default_cfgs = generate_default_cfgs(
    {
        key: cfg
        for name, (backbone, *_) in _VARIANTS.items()
        for key, cfg in _default_cfgs(name, backbone).items()
    }
)


def _check_weights(variant: str, cfg: PretrainedCfg) -> None:
    """See that there is what timm is about to load; it says little if not."""
    # A state dict as it is, and a folder, which timm checks.
    if cfg.state_dict or cfg.source == 'local-dir':
        return
    if cfg.file and not Path(cfg.file).is_file():
        raise ConfigError(
            f'pretrained=True for {variant!r}: file {str(cfg.file)!r} does '
            'not exist'
        )
    if not (cfg.file or cfg.url or cfg.hf_hub_id):
        missing = (
            'no address of its weights is known (its authors are at '
            f'{cfg.origin_url})'
            if _is_published(variant)
            else "it is an arch of mmfft's own, for which no weights exist"
        )
        raise ConfigError(
            f'pretrained=True for {variant!r}: {missing}; give a file with '
            "pretrained_cfg_overlay=dict(file='...'), or take "
            'pretrained=False'
        )


def _create(variant: str, pretrained: bool, **kwargs) -> nn.Module:
    backbone, arch, options = _VARIANTS[variant]
    if kwargs.get('feature_cls', 'getter') != 'getter':
        raise ConfigError(
            f"feature_cls must be 'getter', got {kwargs['feature_cls']!r}: "
            'features come from forward_intermediates()'
        )
    if pretrained:
        given = ('pretrained_cfg', 'pretrained_cfg_overlay')
        cfg = resolve_pretrained_cfg(variant, *map(kwargs.get, given))
        _check_weights(variant, cfg)
    default = 3 if backbone is GFNet else (0, 1, 2, 3)
    # A Runner's checkpoint holds its training log besides the weights.
    register_allowed_globals()
    return build_model_with_cfg(
        FourierClassifier,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg=dict(
            out_indices=kwargs.pop('out_indices', default),
            feature_cls='getter',
        ),
        **{'backbone': backbone, 'arch': arch, **options, **kwargs},
    )


def _register(variant: str) -> None:
    def entrypoint(pretrained: bool = False, **kwargs) -> nn.Module:
        return _create(variant, pretrained, **kwargs)

    entrypoint.__name__ = entrypoint.__qualname__ = variant
    globals()[variant] = register_model(entrypoint)


for _variant in _VARIANTS:
    _register(_variant)

# For torch.fx a backbone is one node.
for _backbone in {backbone for backbone, *_ in _VARIANTS.values()}:
    register_notrace_module(_backbone)
