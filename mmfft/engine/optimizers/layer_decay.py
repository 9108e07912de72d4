# Copyright (c) mmfft authors. All rights reserved.
"""Layer-wise learning rate decay, the same in every toolbox."""

import re

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ...errors import ConfigError
from ...registry import OPTIM_WRAPPER_CONSTRUCTORS

# What torch.compile, FSDP and checkpointing insert into names.
_WRAPPERS = re.compile(
    r'(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.'
)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Lower the learning rate of layers the nearer they are to the image.

    A parameter of depth ``d`` of ``n`` gets ``lr * layer_decay_rate ** (n - 1
    - d)``. The depth is what the backbone's ``get_layer_depth(name, prefix)``
    returns; the backbone is ``model.backbone``, or the model itself if it has
    none. Heads and necks keep the full rate. Parameters with equal settings
    share a group, so that the optimizer updates them together.

    Args:
        optim_wrapper_cfg (dict): Config of the optimizer wrapper, with an
            ``optimizer`` that has an ``lr``.
        paramwise_cfg (dict): ``layer_decay_rate`` (float, greater than 0, at
            most 1) and all settings of mmengine's
            ``DefaultOptimWrapperConstructor``: ``norm_decay_mult``,
            ``bias_decay_mult``, ``flat_decay_mult``, ``custom_keys``, ...

    Raises:
        ConfigError: If there is no valid rate or no ``lr``, or if the backbone
            has no ``get_layer_depth``.

    Example:
        >>> optim_wrapper = dict(
        ...     optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        ...     constructor='mmfft.LayerDecayOptimWrapperConstructor',
        ...     paramwise_cfg=dict(layer_decay_rate=0.9, norm_decay_mult=0.0),
        ... )
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ):
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        self.rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(self.rate, (int, float)) or not 0 < self.rate <= 1:
            raise ConfigError(
                'paramwise_cfg.layer_decay_rate must be greater than 0 and at '
                f'most 1, got {self.rate!r}'
            )
        if self.base_lr is None:
            raise ConfigError(
                'layer decay scales optimizer.lr, which is missing'
            )

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        **kwargs,
    ) -> None:
        super().add_params(params, module, prefix, **kwargs)
        # mmengine calls this for every submodule; the model comes last.
        if prefix:
            return
        backbone = getattr(module, 'backbone', module)
        if not hasattr(backbone, 'get_layer_depth'):
            raise ConfigError(
                f'{type(backbone).__name__} has no get_layer_depth(param_name,'
                ' prefix), which layer decay calls for the depth of each '
                'layer: choose another backbone or optim_wrapper.constructor'
            )
        backbone_prefix = '' if backbone is module else 'backbone.'
        names = {id(p): name for name, p in module.named_parameters()}
        for group in params:
            name = _WRAPPERS.sub('', names[id(group['params'][0])])
            depth, num_layers = backbone.get_layer_depth(name, backbone_prefix)
            scale = self.rate ** (num_layers - 1 - depth)
            group['lr'] = group.get('lr', self.base_lr) * scale
        params[:] = _merge(params)


def _merge(groups: list[dict]) -> list[dict]:
    """Merge groups of parameters that have the same settings."""
    merged = {}
    for group in groups:
        settings = {k: v for k, v in group.items() if k != 'params'}
        key = repr(sorted(settings.items()))
        merged.setdefault(key, {**settings, 'params': []})
        merged[key]['params'] += group['params']
    return list(merged.values())
