"""Inference with trained runs: the classifier, predictions, features and Grad-CAM."""
