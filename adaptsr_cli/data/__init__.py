"""Finding, checking, splitting and sampling pairs of LR and HR images."""
