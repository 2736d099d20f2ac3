from setuptools import find_packages, setup

PACKAGE = "trossen_pi0_sim"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Simulated kit: world, arm protocol servers, cameras, tasks, scripted expert.",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    python_requires=">=3.10",
    install_requires=[
        "fast-simplification",
        "mujoco",
        "numpy",
        "scipy",
        "trimesh",
        "trossen-arm",
        "trossen-arm-sim",
        "typing_extensions",
    ],
    entry_points={
        "console_scripts": [
            "sim_node = trossen_pi0_sim.startup:main",
            "sim_leaders = trossen_pi0_sim.startup:sim_leaders",
        ]
    },
)
