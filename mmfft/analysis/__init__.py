# Copyright (c) mmfft authors. All rights reserved.
