# Copyright (c) mmfft authors. All rights reserved.
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper

from ...errors import ConfigError
from ...registry import HOOKS


@HOOKS.register_module()
class CheckLoadHook(Hook):
    """Reject a ``load_from`` checkpoint if nothing in it fits the model.

    mmengine loads with ``strict=False`` and carries on with the initial
    weights if no name matches.
    """

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check that the checkpoint and the model share at least one name.

        Args:
            runner (Runner): Runner whose model is about to load the weights.
            checkpoint (dict): Checkpoint as read from the file.

        Raises:
            ConfigError: If they share none.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        own = model.state_dict()
        names = checkpoint.get('state_dict', checkpoint)
        if not any(name.removeprefix('module.') in own for name in names):
            raise ConfigError(
                f'nothing in the checkpoint fits the model: the checkpoint '
                f'has {list(names)[:3]}, the model has {list(own)[:3]}'
            )
