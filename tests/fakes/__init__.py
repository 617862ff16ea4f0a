"""Simulated vendor libraries; a package, so that a module called `tensorrt` in here never shadows the real one."""
