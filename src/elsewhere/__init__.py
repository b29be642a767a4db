"""Will your CT classifier work elsewhere? External validation of 3D chest-CT classifiers across hospitals."""

__version__ = "0.1.0"
