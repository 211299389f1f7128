"""What the upstream layer puts where the runtime looks for the handler; opentelemetry-instrument has wrapped that."""

import os
from importlib import import_module

module, name = os.environ["ORIG_HANDLER"].rsplit(".", 1)
lambda_handler = getattr(import_module(module.replace("/", ".")), name)
