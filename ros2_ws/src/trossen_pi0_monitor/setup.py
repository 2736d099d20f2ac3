from setuptools import find_packages, setup

PACKAGE = "trossen_pi0_monitor"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="What the kit plans and does, as markers for RViz and Foxglove.",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    python_requires=">=3.10",
    install_requires=["numpy"],
    entry_points={"console_scripts": ["monitor_node = trossen_pi0_monitor.startup:main"]},
)
