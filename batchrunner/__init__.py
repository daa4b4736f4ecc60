"""Turns YAML manifests of prompts and first/last frames into verified video clips, buying each one once."""

__version__ = "0.1.0"
