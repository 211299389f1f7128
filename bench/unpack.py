"""Unpacks a layer's zip as Lambda does: unpack.py ZIP FOLDER."""

import sys
import zipfile
from pathlib import Path

with zipfile.ZipFile(sys.argv[1]) as archive:
    for entry in archive.infolist():
        path = Path(archive.extract(entry, sys.argv[2]))
        path.chmod(entry.external_attr >> 16 & 0o777 or 0o755)
