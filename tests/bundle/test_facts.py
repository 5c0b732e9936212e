"""What a bundle says of itself to a person who chooses a model."""

import json

from medseg.bundle import bundle_facts, sha256_of


def test_facts_are_plain_and_those_of_the_bundle(bundle):
    facts = json.loads(json.dumps(bundle_facts(bundle)))
    assert facts["name"] == "tiny"
    assert facts["network"] == "UNet"
    assert facts["channels"] == ["T1 (MR)"]
    assert facts["labels"] == ["1 anterior_hippocampus", "2 posterior_hippocampus"]
    assert facts["weights_sha256"] == sha256_of(bundle.weights_path)
    assert 100 < facts["parameters"] < 10_000


def test_a_bundle_without_weights_says_so(bundle):
    bundle.weights_path.unlink()
    facts = bundle_facts(bundle)
    assert facts["weights"] == "missing"
    assert facts["weights_sha256"] is None
