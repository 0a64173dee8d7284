"""INT8 by Q/DQ nodes from images for INT8 calibration, accepted only where it is measured to pay."""
