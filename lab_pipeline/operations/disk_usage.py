"""What the parts of a home occupy."""

from pathlib import Path

from lab_pipeline.settings import Settings

REST = "other"


def disk_use(settings: Settings) -> dict[str, int]:
    """Return the bytes of each area of the home, largest first; what belongs to none is `other`."""
    areas = {
        "lake": settings.lake_dir,
        "artifacts": settings.artifacts_dir,
        "artifacts_cache": settings.artifacts_cache_dir,
        "sweeps": settings.sweeps_dir,
        "clickhouse": settings.clickhouse_dir,
        "dagster": settings.dagster_home,
        "statistics": settings.statistics_dir,
        "catalog": settings.catalog_path,
        "inbox": settings.inbox_dir,
        "raw": settings.raw_dir,
        "logs": settings.home / "logs",
    }
    found = {name: size_of(path) for name, path in areas.items()}
    known = set(areas.values())
    rest = [path for path in settings.home.iterdir() if path not in known] if settings.home.is_dir() else []
    found[REST] = sum(size_of(path) for path in rest)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def size_of(path: Path) -> int:
    """Sum the bytes of a file, or of all files under a directory, as far as they stay there while it counts."""
    total = 0
    for file in (path, *path.rglob("*")):
        try:
            total += file.lstat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total
