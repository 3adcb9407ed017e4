"""Named data sets, splits, normalisation and augmentation."""
