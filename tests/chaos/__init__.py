"""Faults, one by one and at random, against the real daemon, a real Mosquitto and the reference consumer."""
