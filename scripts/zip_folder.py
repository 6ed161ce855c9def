"""Zip a folder so that the same files give the same bytes: `python zip_folder.py FOLDER ZIP`."""

import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

FILE = 0o100644 << 16


def main(folder: Path, target: Path) -> None:
    """In the order of names, all of the time that zip files begin with, readable and nothing else."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files:
            info = ZipInfo(path.relative_to(folder).as_posix())
            info.compress_type = ZIP_DEFLATED
            info.external_attr = FILE
            archive.writestr(info, path.read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
