from setuptools import find_packages, setup

PACKAGE = "trossen_pi0_description"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Robot description: the kit as a URDF, made from the simulation's model.",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    python_requires=">=3.10",
    install_requires=["mujoco", "numpy", "trossen-arm-sim"],
    entry_points={
        "console_scripts": [
            "description_node = trossen_pi0_description.startup:main",
            "urdf = trossen_pi0_description.startup:urdf",
        ]
    },
)
