from setuptools import find_packages, setup

PACKAGE = "trossen_pi0_core"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="The trossen_pi0 suite without ROS: contract, chunk execution, limits, openpi.",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    python_requires=">=3.10",
    install_requires=["msgpack", "numpy", "pillow", "scipy", "typing_extensions", "websockets"],
    extras_require={"pi0": ["opencv-python-headless", "sentencepiece"]},
)
