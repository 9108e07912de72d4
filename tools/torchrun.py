# Copyright (c) mmfft authors. All rights reserved.
"""Run torchrun; after Ctrl-C or SIGTERM without a traceback of its own.

torchrun.sh calls it with the arguments of torchrun.
"""

import sys

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.run import main

if __name__ == '__main__':
    try:
        main()
    except SignalException as stop:
        # The processes have said what is to be said.
        sys.exit(128 + stop.sigval)
