"""Gets the public data sets: downloads that resume, are checked by their sum, and unpack nowhere else.

Standard library only, so that `unet-data fetch` starts at once and works where nothing else does.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import shutil
import stat
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unet_train.errors import UserError
from unet_train.nearest import nearest

LOGGER = logging.getLogger(__name__)

_CHUNK = 1 << 18
_ATTEMPTS = 4
_TIMEOUT_S = 60.0

PAUSE_S = 1.0
"""Before another attempt; doubled each time."""

_TERMS = (
    "Cell Tracking Challenge data: free for research and for testing algorithms, with citation "
    "(Maška et al., Nature Methods 20, 2023, 1010–1020); other scientific use needs the consent of the "
    "data's providers, commercial use an explicit permission; see https://celltrackingchallenge.net"
)
_KAGGLE = (
    "brain_mri is on Kaggle, which asks for an account: download "
    "https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation (or run: kaggle datasets download "
    "mateuszbuda/lgg-mri-segmentation), unzip it, and set dataset.root to its kaggle_3m folder, the one with "
    "a folder per patient (CC BY-NC-SA 4.0; cite Buda, Saha, Mazurowski, Computers in Biology and Medicine "
    "109, 2019, 218–225)"
)


@dataclass(frozen=True)
class Archive:
    """A zip file on the net.

    Attributes
    ----------
    url, sha256 : str
        Where it is, and the sum of its bytes.
    folder : str
        The folder inside it whose content becomes the data set.
    terms : str
        What its providers ask for.
    """

    url: str
    sha256: str
    folder: str
    terms: str


_CHALLENGE = "https://data.celltrackingchallenge.net/training-datasets/"
ARCHIVES = {
    "phc_u373": Archive(
        _CHALLENGE + "PhC-C2DH-U373.zip",
        "b18185c18fce54e8eeb93e4bbb9b201d757add9409bbf2283b8114185a11bc9e",
        "PhC-C2DH-U373",
        _TERMS,
    ),
    "dic_hela": Archive(
        _CHALLENGE + "DIC-C2DH-HeLa.zip",
        "832fed2d05bb7488cf9c51a2994b75f8f3f53b3c3098856211f2d39023c34e1a",
        "DIC-C2DH-HeLa",
        _TERMS,
    ),
}
"""Data sets of the Cell Tracking Challenge by the name of their YAML."""


def fetch(name: str, destination: str | Path, *, progress: bool = True) -> str:
    """Get a data set by name, or say how it is got.

    Parameters
    ----------
    name : str
        ``phc_u373`` or ``dic_hela``; ``brain_mri`` cannot be downloaded without an account.
    destination : path
        Folder that becomes ``dataset.root``.
    progress : bool
        Show a bar, where the output is a terminal.

    Returns
    -------
    str
        A sentence for the user: where the data is now, and its terms.

    Raises
    ------
    UserError
        Unknown name, or `fetch_challenge`'s. For ``brain_mri`` the way to get it.
    """
    if name == "brain_mri":
        raise UserError(_KAGGLE)
    archive = _archive(name)
    done = fetch_challenge(name, destination, progress=progress)
    return f"{name} {'is in' if done else 'was already in'} {destination}. {archive.terms}"


def fetch_challenge(name: str, destination: str | Path, progress: bool = True) -> bool:
    """Download, check and unpack a training set of the Cell Tracking Challenge.

    Parameters
    ----------
    name : str
        A name of `ARCHIVES`, or the challenge's own (``DIC-C2DH-HeLa``).
    destination : path
        Folder that will hold ``01``, ``01_GT``, …; made here. Until all is well it does not exist: the
        download lies beside it and is resumed by the next call.
    progress : bool
        Show a bar, where the output is a terminal.

    Returns
    -------
    bool
        False where the data was there already and nothing was done.

    Raises
    ------
    UserError
        Unknown name, no network, a wrong sum, an archive with members that would leave the folder, a
        destination that holds something else. The message names the URL and the folder.
    """
    return fetch_archive(_archive(name), destination, progress=progress)


def fetch_archive(archive: Archive, destination: str | Path, *, progress: bool = True) -> bool:
    """As `fetch_challenge`, for any zip file."""
    destination = Path(destination).expanduser()
    if destination.is_dir() and any(destination.iterdir()):
        if any(path.is_dir() and re.fullmatch(r"\d\d", path.name) for path in destination.iterdir()):
            return False
        raise UserError(f"{destination}: holds something else already; choose another folder or empty it")
    if destination.exists() and not destination.is_dir():
        raise UserError(f"{destination}: is a file, not a folder")
    file = destination.parent / f"{archive.folder}.zip"
    unpacked = destination.parent / f".{archive.folder}.unpacking"
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        if not (file.is_file() and _sha256(file) == archive.sha256):
            _download(archive, file, progress)
        shutil.rmtree(unpacked, ignore_errors=True)
        _unpack(file, archive.folder, unpacked)
        if destination.is_dir():
            destination.rmdir()  # empty, as was seen above
        os.replace(unpacked, destination)
        file.unlink()
    except OSError as error:
        raise UserError(f"{destination}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return True


def _archive(name: str) -> Archive:
    for key, archive in ARCHIVES.items():
        if name in (key, archive.folder):
            return archive
    names = [*ARCHIVES, "brain_mri"]
    raise UserError(f"{name}: no data set to fetch{nearest(name, names)}; there are {', '.join(names)}")


# --- download -----------------------------------------------------------------------------------------


def _download(archive: Archive, file: Path, progress: bool) -> None:
    """Download to ``<file>.part``, which stays when interrupted and is continued the next time."""
    part = file.with_name(file.name + ".part")
    resumed = part.exists()
    if resumed:
        LOGGER.info("going on with %s at %.1f MB", part, part.stat().st_size / 1e6)
    pause = PAUSE_S
    for attempt in range(_ATTEMPTS):
        try:
            _download_once(archive.url, part, progress)
            break
        except urllib.error.HTTPError as error:  # the server has answered: asking again gives the same
            raise _unreachable(archive, file, f"HTTP {error.code} {error.reason}") from None
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            if attempt == _ATTEMPTS - 1:
                raise _unreachable(archive, file, str(getattr(error, "reason", error))) from None
            time.sleep(pause)
            pause *= 2
    found = _sha256(part)
    if found != archive.sha256 and resumed:
        LOGGER.info("the continued download has a wrong sum; downloading anew")
        part.unlink()
        _download(archive, file, progress)
        return
    if found != archive.sha256:
        part.unlink()
        raise UserError(
            f"{archive.url}: the download has sha256 {found}, not {archive.sha256}; deleted; the file on "
            "the server is damaged or has changed"
        )
    os.replace(part, file)


def _unreachable(archive: Archive, file: Path, why: str) -> UserError:
    return UserError(
        f"{archive.url}: cannot be downloaded ({why}); run the command again to go on, or "
        f"put the file there by other means as {file}"
    )


def _download_once(url: str, part: Path, progress: bool) -> None:
    """One request; asks for the rest of what is there, and takes the whole if the server gives that."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "unet-train"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing is left to send: the sum decides
            return
        raise
    with response:
        appends = response.status == 206 and _range_start(response) == start
        if not appends:
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with open(part, "ab" if appends else "wb") as file:
            for chunk in _with_bar(_chunks(response), start, total, url, progress):
                file.write(chunk)
        if total is not None and part.stat().st_size < total:
            raise ConnectionError(f"the connection ended at {part.stat().st_size} of {total} bytes")


def _range_start(response: http.client.HTTPResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read1(_CHUNK):
        yield chunk


def _with_bar(
    chunks: Iterator[bytes], start: int, total: int | None, url: str, progress: bool
) -> Iterator[bytes]:
    if not (progress and sys.stderr.isatty()):
        yield from chunks
        return
    from tqdm import tqdm

    with tqdm(desc=url.rsplit("/", 1)[-1], initial=start, total=total, unit="B", unit_scale=True) as bar:
        for chunk in chunks:
            yield chunk
            bar.update(len(chunk))


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


# --- unpacking ----------------------------------------------------------------------------------------


def _unpack(file: Path, folder: str, destination: Path) -> None:
    """Unpack what lies in `folder` into `destination`; looks at every member before writing one."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = [(member, _safe_parts(file, member)) for member in archive.infolist()]
            inside = [(member, parts[1:]) for member, parts in members if parts[:1] == [folder] and parts[1:]]
            if not inside:
                raise UserError(f"{file}: holds no folder {folder}")
            destination.mkdir(parents=True)
            for member, parts in inside:
                target = destination.joinpath(*parts)
                if member.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(target, "wb") as written:
                    shutil.copyfileobj(source, written)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{file}: is no whole zip file ({error}); delete it and fetch again") from None


def _safe_parts(file: Path, member: zipfile.ZipInfo) -> list[str]:
    """Parts of a member's path; refuses what could be written outside the folder, on any system."""
    name = member.orig_filename.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    link = stat.S_ISLNK(member.external_attr >> 16)
    if name.startswith("/") or ".." in parts or any(":" in part for part in parts) or "\0" in name or link:
        what = "is a link" if link else "leaves the folder"
        raise UserError(f"{file}: refused, its member {member.orig_filename!r} {what}; nothing unpacked")
    return parts
