"""Packages, extras and the three commands."""

from setuptools import find_packages, setup

setup(
    name="edge-agent",
    version="0.1.0",
    description="Visual inspection from good images only: INT8 autoencoder, calibrated verdicts, durable MQTT",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["edge_agent*", "calibrate*", "engines*"]),
    package_data={"": ["*.json", "*.html"]},
    install_requires=[
        "numpy>=1.22",
        "onnxruntime>=1.18",
        "paho-mqtt>=2.1,<3",
        "prometheus-client>=0.19,<1",
        "pydantic>=2.6,<3",
        "PyYAML>=6.0",
        "rich>=13",
        "simplejpeg>=1.7,<2",
    ],
    extras_require={
        # On a Jetson, OpenCV comes from JetPack: a wheel would take GStreamer away.
        "cv": ["opencv-python-headless>=4.5"],
        # TensorRT itself comes with JetPack.
        "tensorrt": ["onnx>=1.16", "cuda-python>=12.6"],
        "train": ["torch>=2.6", "onnx>=1.16", "onnxscript>=0.3"],
        "tensorboard": ["tensorboard>=2.14"],
        "broker": ["amqtt>=0.12"],
        # Fuzzing; there are wheels for these only.
        "chaos": ['atheris>=3; platform_machine == "x86_64" and python_version >= "3.11"'],
        "dev": [
            "hypothesis>=6",
            "jsonschema>=4.18",
            "mypy",
            "psutil>=5",
            "pytest>=8",
            "pytest-xdist>=3.7",
            "ruff",
            "scikit-learn>=1.3",
            "trustme>=1.2",
            "types-PyYAML",
        ],
    },
    entry_points={
        "console_scripts": [
            "edge-agent=edge_agent.cli:main",
            "edge-calibrate=calibrate.cli:main",
            "edge-engines=engines.cli:main",
        ]
    },
)
