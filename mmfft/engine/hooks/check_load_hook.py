# Copyright (c) mmfft authors. All rights reserved.
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper

from ...errors import ConfigError
from ...registry import HOOKS


@HOOKS.register_module()
class CheckLoadHook(Hook):
    """Refuse a ``load_from`` of which nothing fits the model.

    mmengine loads with ``strict=False`` and goes on with the initial weights
    where no name matches.
    """

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """See that a name of the checkpoint is one of the model.

        Args:
            runner (Runner): Whose model is about to be given the weights.
            checkpoint (dict): As read from the file.

        Raises:
            ConfigError: If there is none.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        own = model.state_dict()
        names = checkpoint.get('state_dict', checkpoint)
        if not any(name.removeprefix('module.') in own for name in names):
            raise ConfigError(
                f'nothing in the checkpoint fits the model: it has '
                f'{list(names)[:3]}, the model {list(own)[:3]}'
            )
