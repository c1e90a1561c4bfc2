"""Where compiled kernels are kept: files that are written whole or not at all, and checked before they are believed."""

import hashlib
import os
import platform
import stat
import tempfile
import threading
import warnings
from pathlib import Path

_MAGIC = b"fastnn-kernel-1\n"


class CacheWarning(UserWarning):
    """The compile cache could not be used; kernels are compiled again in this process."""


def cache_root():
    """Return the folder that holds compiled kernels: ``FASTNN_CACHE_DIR``, or the user's own cache folder.

    Raises
    ------
    OSError
        If it lies in a home folder that is not known.
    """
    chosen = os.environ.get("FASTNN_CACHE_DIR")
    try:
        return Path(chosen).expanduser() if chosen else _users_own() / "fastnn"
    except RuntimeError as fault:
        whose = f"FASTNN_CACHE_DIR is {chosen!r}, whose" if chosen else "the user's"
        raise OSError(f"{whose} home folder is not known") from fault


def _users_own():
    if platform.system() == "Windows":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if platform.system() == "Darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


class Store:
    """Files of one folder. Every fault turns into one warning and a cache that is left out.

    Parameters
    ----------
    locate : callable
        Returns the folder's path, when a file is first asked for.

    Attributes
    ----------
    fault : str or None
        Why something could not be kept, if so.
    lock : threading.Lock
        Held while the folder is looked for.
    """

    def __init__(self, locate):
        self._locate = locate
        self._folder, self._known, self.lock = None, False, threading.Lock()
        self._warned, self.fault = False, None

    def warn(self, fault):
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"fastnn's compile cache is not used as it should be ({fault}); kernels are compiled anew. "
                "Set FASTNN_CACHE_DIR to a folder of yours to mend it, or delete the folder named.",
                CacheWarning,
                stacklevel=2,
            )

    def folder(self):
        """Return the usable folder, made if need be, or None."""
        fault = None
        with self.lock:
            if not self._known:
                self._known = True
                try:
                    # The process may go to another folder.
                    self._folder = self._open(self._locate().absolute())
                except OSError as found:
                    fault, self.fault = found, str(found)
        if fault is not None:
            self.warn(fault)
        return self._folder

    @staticmethod
    def _open(folder):
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for place in (folder.parent, folder):
            # What others may do in a folder of ours is not left to the umask.
            if not place.exists():
                place.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid"):
            # What is loaded from here is run: it must be the user's own, and closed to the others.
            for place in (folder, folder.parent):
                about = os.lstat(place)
                if not stat.S_ISDIR(about.st_mode):
                    raise OSError(f"{place} is not a folder")
                if about.st_uid != os.getuid():
                    raise OSError(f"{place} belongs to another user")
            if stat.S_IMODE(os.lstat(folder).st_mode) & 0o077:
                os.chmod(folder, 0o700)
            if stat.S_IMODE(os.lstat(folder.parent).st_mode) & 0o022:
                raise OSError(f"{folder.parent} can be written by other users")
        return folder

    def read(self, name):
        """Return the bytes stored under `name`, or None if there are none that can be trusted."""
        folder = self.folder()
        if folder is None:
            return None
        path = folder / name
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as fault:
            self.warn(fault)
            return None
        head, body = raw[: len(_MAGIC) + 32], raw[len(_MAGIC) + 32 :]
        if head != _MAGIC + hashlib.sha256(body).digest():
            self.warn(f"{path} is damaged")
            return None
        return body

    def write(self, name, body):
        """Store `body` under `name`: the file is complete from the moment it can be seen."""
        folder = self.folder()
        if folder is None:
            return
        temporary = None
        try:
            handle, temporary = tempfile.mkstemp(prefix=name[:16], suffix=".tmp", dir=folder)
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(body).digest() + body)
            os.replace(temporary, folder / name)
        except OSError as fault:
            self.fault = str(fault)
            self.warn(fault)
            if temporary is not None:
                try:
                    os.unlink(temporary)
                except OSError:
                    pass
