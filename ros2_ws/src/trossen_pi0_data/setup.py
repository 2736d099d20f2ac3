from setuptools import find_packages, setup

PACKAGE = "trossen_pi0_data"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Episodes: recorder and replay nodes, reading recorded episodes without ROS.",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    python_requires=">=3.10",
    install_requires=[
        "av",
        "mcap",
        "numpy",
        "opencv-python-headless",
        "pillow",
        "psutil",
        "pyyaml",
        "rich",
        "rosbags",
        "scipy",
        "typing_extensions",
        "zstandard",
    ],
    entry_points={
        "console_scripts": [
            "record_keys = trossen_pi0_data.keyboard:main",
            "recorder_node = trossen_pi0_data.startup:recorder",
            "replay_node = trossen_pi0_data.startup:replay",
        ]
    },
)
