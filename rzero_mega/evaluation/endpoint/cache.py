"""Answers that were paid for, on disk: a file of JSON lines that only grows."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from rzero_mega.atomic import append_line, read_jsonl, storage_errors
from rzero_mega.errors import UserError
from rzero_mega.evaluation.endpoint.chat import ChatAnswer


class AnswerCache:
    """Answers by the key of their request. One process at a time has the file.

    An answer is in the file before it is used. Lines that a killed process left half-written are passed over.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there. UserError if another process is asking, or the storage refuses."""
        self._path = path
        self._answers: dict[str, ChatAnswer] = {}
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._claim()
            self._read()
        except BaseException:
            self.close()
            raise

    @property
    def requests(self) -> int:
        """Answers that are there."""
        return len(self._answers)

    @property
    def tokens(self) -> int:
        """Tokens that they took."""
        return sum(answer.tokens for answer in self._answers.values())

    def get(self, key: str) -> ChatAnswer | None:
        """The answer to a request; None if it was not asked yet."""
        return self._answers.get(key)

    def put(self, key: str, answer: ChatAnswer) -> None:
        """Keep an answer. UserError if the storage refuses."""
        append_line(self._path, {"key": key, **answer.as_json()})
        self._answers[key] = answer

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _claim(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self._path}: another process is asking these questions; wait for it") from None
        except OSError:
            return  # a file system without locks

    def _read(self) -> None:
        for row in read_jsonl(self._path, skip_malformed=True):
            try:
                self._answers[str(row["key"])] = ChatAnswer.from_json(row)
            except (KeyError, TypeError, ValueError):
                continue
