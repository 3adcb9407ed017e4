"""From a workdir to answers: a classifier, its predictions, features and Grad-CAM."""
