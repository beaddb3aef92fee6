"""Models on the Hugging Face hub: named, fetched into its cache, pushed.

Only files of JSON and safetensors are fetched, and nothing of them is run. ``HF_HUB_OFFLINE=1`` serves what
is in the cache. Needs the extra ``hub``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

PREFIX = "hf:"
WANTED = ("config.json", "*preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_ADDRESS = re.compile(rf"hf:({_NAME}/{_NAME})(?:@([A-Za-z0-9][A-Za-z0-9._/-]*))?")


class HubError(ValueError):
    """A model that cannot be fetched from the hub or pushed to it; the message says why."""


@dataclass(frozen=True)
class Address:
    """A model on the hub; ``revision`` is a branch, a tag or a commit, None for the newest."""

    repo_id: str
    revision: str | None = None


def is_address(text: object) -> bool:
    """Tell whether ``text`` is meant as an address on the hub."""
    return isinstance(text, str) and text.startswith(PREFIX)


def parse_address(text: str) -> Address:
    """Return what ``hf:owner/name`` or ``hf:owner/name@revision`` names.

    Raises:
        HubError: another form.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or ".." in text:
        raise HubError(f"{text!r}: expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
    return Address(found[1], found[2])


def fetch(text: str) -> Path:
    """Return the folder of the hub's cache that holds the model ``hf:owner/name[@revision]``.

    Raises:
        HubError: there is no such model or revision, it needs a login, or no network and not in the cache.
        ImportError: huggingface_hub is not installed.
    """
    address, hub = parse_address(text), _hub()
    try:
        folder = Path(
            hub.snapshot_download(
                address.repo_id, revision=address.revision, allow_patterns=list(WANTED), repo_type="model"
            )
        )
    except hub.errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{text}: the hub has no such model, or not for you; look at its spelling, or log in "
            "(hf auth login)"
        ) from error
    except hub.errors.RevisionNotFoundError as error:
        raise HubError(f"{text}: the model has no revision {address.revision}") from error
    except (hub.errors.LocalEntryNotFoundError, hub.errors.OfflineModeIsEnabled) as error:
        raise HubError(
            f"{text}: it is not in the cache and the hub cannot be reached (offline, or HF_HUB_OFFLINE is "
            "set); fetch it once with a network"
        ) from error
    except (hub.errors.HfHubHTTPError, OSError) as error:
        raise HubError(f"{text}: fetching failed: {' '.join(str(error).split())[:300]}") from error
    return folder


def push(folder: Path, repo_id: str, *, private: bool = False, revision: str | None = None) -> str:
    """Upload the files of ``folder`` as the model ``repo_id``, made if it is not there; return its address.

    Raises:
        HubError: not allowed, not logged in, or no network.
        ImportError: huggingface_hub is not installed.
    """
    parse_address(f"{PREFIX}{repo_id}")
    hub = _hub()
    try:
        api = hub.HfApi()
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(repo_id=repo_id, folder_path=folder, revision=revision)
    except (hub.errors.HfHubHTTPError, hub.errors.OfflineModeIsEnabled, OSError, ValueError) as error:
        raise HubError(
            f"{repo_id}: pushing failed: {' '.join(str(error).split())[:300]}; you need a network and a "
            "login that may write there (hf auth login)"
        ) from error
    return f"{PREFIX}{repo_id}@{commit.oid}"


def check_links(folder: Path) -> None:
    """Refuse files of a model's folder that are links to elsewhere.

    In the hub's cache they are links into its own store, ``blobs``; in any other folder they are plain files.

    Raises:
        HubError: it names the file.
    """
    cached = folder.parent.name == "snapshots"
    home = folder.parent.parent / "blobs" if cached else folder
    for file in folder.iterdir():
        if file.is_symlink() and not _leads_into(file, home):
            raise HubError(
                f"{file} is a link that leads out of {home}; a model's files stand in its own folder"
            )


def _leads_into(link: Path, home: Path) -> bool:
    # the store itself may not lead elsewhere; nor may a link lead in a circle
    try:
        there = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return there.is_relative_to(home.parent.resolve() / home.name)


def _hub() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ImportError(
            "models on the hub need huggingface_hub: python -m pip install 'worldjepa[hub]'"
        ) from error
    return huggingface_hub
