from glob import glob

from setuptools import find_packages, setup

PACKAGE = "trossen_pi0_bringup"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Starts the trossen_pi0 suite: node table, launch files, parameters, episode runs.",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.py")),
        (f"share/{PACKAGE}/config", glob("config/*")),
        (f"share/{PACKAGE}/rviz", glob("rviz/*.rviz")),
        (f"share/{PACKAGE}/layouts", glob("layouts/*")),
    ],
    entry_points={"console_scripts": ["doctor = trossen_pi0_bringup.doctor.command:main"]},
    python_requires=">=3.10",
    install_requires=[
        "matplotlib",
        "numpy",
        "opencv-python-headless",
        "pillow",
        "psutil",
        "pyyaml",
        "rich",
        "scipy",
    ],
)
