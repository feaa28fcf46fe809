"""Assertions about dropout for test suites; pytest is not needed."""

from dropstats.testing.asserting import assert_dropout, assert_model

__all__ = ["assert_dropout", "assert_model"]
