"""Backups: snapshots of a home in a directory that keeps each content once."""

from lab_pipeline.backup.errors import BackupError, DamagedBackupError
from lab_pipeline.backup.repository import FileEntry, Repository, Snapshot

__all__ = ["BackupError", "DamagedBackupError", "FileEntry", "Repository", "Snapshot"]
