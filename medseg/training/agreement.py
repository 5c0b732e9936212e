"""Do a bundle and a data set speak of the same channels and labels?"""

from medseg.bundle import Bundle
from medseg.data import DataManifest, check_convertible
from medseg.errors import BundleError, DataError

__all__ = ["check_agreement"]


def check_agreement(bundle: Bundle, manifest: DataManifest) -> None:
    """Labels and channels go by name: a wrong order trains without an error and is never right.

    Raises:
        BundleError: the manifest lacks a channel or a label of the model's, or has a label unknown to it.
    """
    source, target = manifest.schema_of_labels, bundle.label_schema
    try:
        check_convertible(source=source, target=target)
    except DataError as error:
        raise BundleError(f"bundle {bundle.name} and {manifest.name} must agree on labels: {error}") from error
    offered = {target.accepts.get(label.name, label.name) for label in source.labels}
    lacking = [label.name for label in target.labels if label.name not in offered]
    if lacking:
        raise BundleError(
            f"bundle {bundle.name} learns {lacking[0]}, which {manifest.name} does not have: both must agree on labels."
        )
    wanted = [channel.name for channel in bundle.channels]
    given = [channel.name for channel in manifest.channels]
    if not set(wanted) <= set(given):
        raise BundleError(
            f"bundle {bundle.name} takes channels {wanted}, {manifest.name} has {given}: both must agree."
        )
