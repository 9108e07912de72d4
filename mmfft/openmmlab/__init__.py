# Copyright (c) mmfft authors. All rights reserved.
"""What joins mmfft to mmengine and the toolboxes, of either line."""
