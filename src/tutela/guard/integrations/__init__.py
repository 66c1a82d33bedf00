"""Integrations: the gate in front of the programs that people run models with.

Each module needs only the package it is for, and none is imported before it is used.
"""
