"""A model's folder on its way to the Hugging Face hub. The token is the hub library's own: its login, or HF_TOKEN."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from rzero_mega.errors import UserError, first_line


class HubApi(Protocol):
    """What is used of `huggingface_hub.HfApi`."""

    def whoami(self) -> Any:
        """Who the token belongs to; raises without a token, or a network."""
        ...

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Make the repository, or take the one that is there."""
        ...

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> Any:
        """Add the folder's files in one commit."""
        ...


class Hub:
    """One repository of models. Every error is one line that says what to do."""

    def __init__(self, name: str, private: bool = True, api: HubApi | None = None) -> None:
        """`name` is OWNER/NAME; UserError if it can't be one. Nothing is sent yet."""
        from huggingface_hub import HfApi
        from huggingface_hub.utils._validators import validate_repo_id

        try:
            if name.count("/") != 1:
                raise ValueError("a model on the hub is called OWNER/NAME")
            validate_repo_id(name)
        except ValueError as error:
            raise UserError(f"--push {name}: {first_line(error)}") from None
        self._name, self._private = name, private
        self._api: HubApi = api if api is not None else HfApi()

    def check(self) -> None:
        """Find out, before anything large happens, whether there is a hub to speak to and a token that it knows."""
        self._call("the hub can't be asked who you are", self._api.whoami)

    def push(self, folder: Path, message: str) -> str:
        """Send the folder's files; the address of the repository. One that is made for it is private unless told so."""
        again = f"the folder is whole: `hf upload {self._name} {folder}` sends it"
        options: dict[str, Any] = {"private": self._private, "exist_ok": True}
        self._call(f"no repository could be made; {again}", self._api.create_repo, self._name, **options)
        files: dict[str, Any] = {"repo_id": self._name, "folder_path": folder, "commit_message": message}
        self._call(f"the upload failed; {again}", self._api.upload_folder, **files)
        return f"https://huggingface.co/{self._name}"

    def _call(self, what: str, call: Any, *arguments: Any, **options: Any) -> None:
        from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

        try:
            call(*arguments, **options)
            return
        except LocalTokenNotFoundError:
            reason = "no token; `hf auth login`, or set HF_TOKEN in the environment"
        except OfflineModeIsEnabled:
            reason = "HF_HUB_OFFLINE is set; unset it where there is a network"
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else None
            reason = f"{what}: {first_line(error)}"
            if status in (401, 403):
                reason = f"{what}: the token may not do so; `hf auth login` with one that may write there"
        except Exception as error:  # a failing network raises what the HTTP library of the day raises
            reason = f"{what}: {first_line(error)}"
        raise UserError(f"--push {self._name}: {reason}")
