"""A client of MONAI Label servers that needs nothing but Python."""

from medseg.monai_label_client.client import MonaiLabelClient, RemoteImage, RemoteModel, RemoteResult, ServerInfo

__all__ = ["MonaiLabelClient", "RemoteImage", "RemoteModel", "RemoteResult", "ServerInfo"]
