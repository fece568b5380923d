"""What can go wrong with a backup, said so that its user can act."""

from lab_pipeline.domain.errors import LabError


class BackupError(LabError):
    """A backup cannot be made or restored as asked; nothing was changed."""


class DamagedBackupError(BackupError):
    """A file of a backup is missing, cut or changed."""
