"""Bundles: finding, loading and running the model folders that say everything about one model."""

from typing import TYPE_CHECKING

from medseg.bundle.download import download_large_files, large_files
from medseg.bundle.found import find_bundles
from medseg.first_use import imported_at_first_use

if TYPE_CHECKING:
    from medseg.bundle.build import build_network, build_segmenter, choose_device
    from medseg.bundle.cohort import CaseEnd, run_cases
    from medseg.bundle.create import create_bundle
    from medseg.bundle.edition import edition_of, schema_of_cases
    from medseg.bundle.evaluate import evaluate_bundle, evaluate_split
    from medseg.bundle.facts import bundle_facts
    from medseg.bundle.forecasting import Forecast, forecast, together, with_maps
    from medseg.bundle.imported import ImportedWeights, import_weights
    from medseg.bundle.load import Bundle, load_bundle, load_weights, parse_settings, sha256_of
    from medseg.bundle.metadata import differences, metadata_schema, network_data_format
    from medseg.bundle.outputs import Extras, OutputPaths, plan_outputs
    from medseg.bundle.plan import Plan, plan_bundle
    from medseg.bundle.runner import CaseResult, Runner
    from medseg.bundle.segmenting import segment
    from medseg.bundle.verify import Check, verify_bundle
else:
    __getattr__ = imported_at_first_use(
        __name__,
        {
            "build": ("build_network", "build_segmenter", "choose_device"),
            "cohort": ("CaseEnd", "run_cases"),
            "create": ("create_bundle",),
            "edition": ("edition_of", "schema_of_cases"),
            "evaluate": ("evaluate_bundle", "evaluate_split"),
            "facts": ("bundle_facts",),
            "forecasting": ("Forecast", "forecast", "together", "with_maps"),
            "imported": ("ImportedWeights", "import_weights"),
            "load": ("Bundle", "load_bundle", "load_weights", "parse_settings", "sha256_of"),
            "metadata": ("differences", "metadata_schema", "network_data_format"),
            "outputs": ("Extras", "OutputPaths", "plan_outputs"),
            "plan": ("Plan", "plan_bundle"),
            "runner": ("CaseResult", "Runner"),
            "segmenting": ("segment",),
            "verify": ("Check", "verify_bundle"),
        },
    )

__all__ = [
    "Bundle",
    "CaseEnd",
    "CaseResult",
    "Check",
    "Extras",
    "Forecast",
    "ImportedWeights",
    "OutputPaths",
    "Plan",
    "Runner",
    "build_network",
    "build_segmenter",
    "bundle_facts",
    "choose_device",
    "create_bundle",
    "differences",
    "download_large_files",
    "edition_of",
    "evaluate_bundle",
    "evaluate_split",
    "find_bundles",
    "forecast",
    "import_weights",
    "large_files",
    "load_bundle",
    "load_weights",
    "metadata_schema",
    "network_data_format",
    "parse_settings",
    "plan_bundle",
    "plan_outputs",
    "run_cases",
    "schema_of_cases",
    "segment",
    "sha256_of",
    "together",
    "verify_bundle",
    "with_maps",
]
