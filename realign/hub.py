"""Weights, indexes and prepared sets on the Hugging Face Hub, or one that speaks its protocol (HF_ENDPOINT)."""

import re
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlparse

from realign.errors import InputError, InputWarning
from realign.file_names import CONFIG, GUIDANCE, META, SET_ARRAYS, SET_FILES, SUMS, WEIGHTS

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_FILE = re.compile(r".*\.(ckpt|safetensors|pth?|npz|npy|ya?ml|json|faiss|zip|tar)", re.IGNORECASE)
_WEIGHTS = (CONFIG, WEIGHTS, GUIDANCE, SUMS)
_INDEX = ("*meta.json", "*calibration.json", "*.npy", "*.bin", "*.faiss")
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


class HubName(str):
    """ORG/NAME or ORG/NAME@REVISION of a repository; a revision is a branch, a tag or a commit."""

    @property
    def name(self) -> str:
        """NAME alone."""
        return self.partition("@")[0].partition("/")[2]


class HubSet(HubName):
    """The same of a prepared set, which lies in a repository of data sets."""


def from_hub(load: Callable[[bool], T], what: str, remedy: str, newest: bool = False) -> T:
    """Load from the local cache, else from the hub.

    The cache comes first, so that a machine without network does not wait for the hub's retries (about 25 s a file).

    Args:
        load: Called with ``local_files_only``.
        what: Beginning of the error: the files.
        remedy: End of the error: what to do without network.
        newest: Ask the hub first, since the files may have changed there; without an answer, the cache is read.

    Raises:
        InputError: The files are not cached and cannot be downloaded.
    """
    if not newest and (found := _cached(load)) is not None:
        return found
    host = _host()
    if not _reachable(host):
        if newest and (found := _cached(load)) is not None:
            return _older(found, what)
        raise InputError(f"{what} is not on this machine and {host} cannot be reached; {remedy}.")
    try:
        return load(False)
    except (InputError, ImportError):  # the second: a broken installation
        raise
    except Exception as error:  # those of the client's network library change with its version
        if newest and not _refused(error) and (found := _cached(load)) is not None:
            return _older(found, what)
        raise InputError(f"{what} could not be downloaded ({_reason(error)}); {remedy}.") from error


def is_hub_name(given: str) -> bool:
    """Whether a text reads as a `HubName`, and not as the path of a file."""
    name, at, revision = given.partition("@")
    return bool(_REPOSITORY.fullmatch(name)) and bool(revision) == bool(at) and not _FILE.fullmatch(name)


def with_revision(given: str | Path, revision: str | None) -> str | Path:
    """A name on the hub with its revision.

    Raises:
        InputError: A revision of something that is not a repository on the hub, or of one that has another.
    """
    if revision is None:
        return given
    if isinstance(given, Path) or not _REPOSITORY.fullmatch(given) or Path(given).exists():
        raise InputError(
            f"The revision {revision!r} needs a repository on the Hub, ORG/NAME, but {str(given)!r} was given; leave "
            "the revision out."
        )
    return f"{given}@{revision}"


def fetch(name: str) -> Path:
    """The folder of a repository's files in the local cache, brought up to date if the hub answers.

    Args:
        name: ORG/NAME or ORG/NAME@REVISION of weights or an index, or the `HubSet` of a prepared set.

    Raises:
        InputError: There is no such repository or revision, it may not be read, holds none of these, or is not cached
            and the hub does not answer.
    """
    repository, _, revision = name.partition("@")
    kind = "dataset" if isinstance(name, HubSet) else "model"

    def load(local: bool) -> Path:
        from huggingface_hub import snapshot_download

        def folder(patterns: Sequence[str]) -> Path:
            return Path(
                snapshot_download(
                    repository,
                    repo_type=kind,
                    revision=revision or None,
                    allow_patterns=list(patterns),
                    local_files_only=local,
                    endpoint=_endpoint(),
                )
            )

        if not local:
            return folder(_wanted(repository, revision, kind))
        if kind == "dataset":
            return folder(SET_FILES)
        found = folder(_WEIGHTS)
        return found if (found / _WEIGHTS[0]).is_file() else folder(_INDEX)

    remedy = "check the path or the name, or try again with a network"
    return from_hub(load, f"The repository {name!r} (there is no such file or folder here)", remedy, newest=True)


def _wanted(repository: str, revision: str = "", kind: str = "model") -> Sequence[str]:
    """Patterns of the files to download; asked before, so that no foreign repository is downloaded in vain.

    Args:
        repository: ORG/NAME.
        revision: Branch, tag or commit; "" for the newest.
        kind: "model", which holds weights or an index, or "dataset", which holds a prepared set.

    Raises:
        InputError: It holds none.
    """
    api = _api()
    ask = api.dataset_info if kind == "dataset" else api.model_info
    about = ask(repository, revision=revision or "main", timeout=10)
    names = {each.rfilename for each in about.siblings or ()}  # mirrors may leave them out
    names = names or set(api.list_repo_files(repository, repo_type=kind, revision=about.sha))
    if kind == "dataset":
        if {META, *SET_ARRAYS} <= names:
            return SET_FILES
        raise InputError(
            f"The data set {repository!r} on {_host()} is not a prepared set ({META}, {SET_ARRAYS[0]}); name one that "
            "`realign export SET --hub` wrote."
        )
    if {CONFIG, WEIGHTS} <= names:
        return _WEIGHTS
    if META in names and "index.faiss" in names:
        return _INDEX
    raise InputError(
        f"The repository {repository!r} on {_host()} holds neither weights of realign ({CONFIG}, {WEIGHTS}) "
        f"nor an index ({META}); name one that `realign export --hub` or `realign index push` wrote."
    )


def check_remote(name: str) -> None:
    """Refuse the name of a repository that cannot be read, or holds neither weights nor an index.

    Args:
        name: ORG/NAME or ORG/NAME@REVISION.

    Raises:
        InputError: As said.
    """
    repository, _, revision = name.partition("@")
    try:
        _wanted(repository, revision)
    except InputError:
        raise
    except Exception as error:  # as in `from_hub`
        raise InputError(f"The repository {name!r} cannot be read ({_reason(error)}); push it there first.") from error


def check_repository(name: str) -> str:
    """Refuse a text that is not ORG/NAME.

    Raises:
        InputError: As said.
    """
    if not _REPOSITORY.fullmatch(name):
        raise InputError(f"{name!r} does not name a repository on the Hub; write ORG/NAME.")
    return name


def push(files: Mapping[str, Path], repository: str, *, private: bool = False, kind: str = "model") -> str:
    """Write files to a repository in one commit; it is made if it does not exist.

    A README.md that the repository has already is kept.

    Args:
        files: Their paths by their names in the repository.
        repository: ORG/NAME.
        private: Make a new repository private.
        kind: "model" or "dataset".

    Returns:
        The address of the repository.

    Raises:
        InputError: The hub does not answer, or does not let this user write there.
    """
    from huggingface_hub import CommitOperationAdd

    host, api = _host(), _api()
    if not _reachable(host):
        raise InputError(f"{repository!r} cannot be written, since {host} cannot be reached; try again with a network.")
    try:
        api.create_repo(check_repository(repository), repo_type=kind, exist_ok=True, private=private or None)
        kept = {"README.md"} if api.file_exists(repository, "README.md", repo_type=kind) else set()
        operations = [CommitOperationAdd(name, path) for name, path in files.items() if name not in kept]
        api.create_commit(repository, operations, repo_type=kind, commit_message="Written by realign")
    except Exception as error:  # as in `from_hub`
        raise InputError(
            f"{repository!r} could not be written on {host} ({_reason(error)}); check the name and whether your token "
            f"may write there: {_LOG_IN}."
        ) from error
    return f"{_endpoint()}/{'datasets/' if kind == 'dataset' else ''}{repository}"


def _cached(load: Callable[[bool], T]) -> T | None:
    try:
        return load(True)
    except (OSError, ValueError):  # not cached, or only in part
        return None


def _older(found: T, what: str) -> T:
    """Warn that files come from the cache, unless that is what the user asked for."""
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE:
        warnings.warn(
            f"{what} is read as it was downloaded before, since {_host()} does not answer.", InputWarning, stacklevel=4
        )
    return found


def _refused(error: Exception) -> bool:
    """Whether the hub answered that it does not give the files."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    return isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError))  # of which a gated one is a kind


def _reason(error: Exception) -> str:
    """One line about an error of the client."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    host = _host()
    if isinstance(error, GatedRepoError):
        return f"{host} wants you to ask its owners for access first"
    if isinstance(error, RepositoryNotFoundError):
        return f"{host} has no repository of this name, or it is private: {_LOG_IN}"
    if isinstance(error, RevisionNotFoundError):
        return f"{host} has the repository, but not this revision"
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")


def _api() -> "HfApi":
    from huggingface_hub import HfApi

    return HfApi(endpoint=_endpoint(), library_name="realign")


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _host() -> str:
    return urlparse(_endpoint()).hostname or ""


def _reachable(host: str) -> bool:
    from urllib.request import getproxies  # which is slow to import

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies().keys() & {"https", "all"}:  # names are then resolved by the proxy
        return True
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
