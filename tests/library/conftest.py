"""The toy base, its images and its profile, as the tests of the command line have them."""

from tests.service.conftest import profiled_db, toy_base, toy_db, toy_images

__all__ = ["profiled_db", "toy_base", "toy_db", "toy_images"]
