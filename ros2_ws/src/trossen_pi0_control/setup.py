from setuptools import find_packages, setup

PACKAGE = "trossen_pi0_control"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Owns the arms: driver adapter, arm controller node and leader-arm node.",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    python_requires=">=3.10",
    install_requires=["numpy", "trossen-arm", "typing_extensions"],
    entry_points={
        "console_scripts": [
            "arm_controller = trossen_pi0_control.startup:main",
            "leader_arms = trossen_pi0_control.startup:leader_arms",
        ]
    },
)
