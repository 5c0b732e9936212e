"""MONAI Label: tasks of its server around the engine, and the server itself; used by ``app/``."""

__all__: list[str] = []
