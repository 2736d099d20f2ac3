from setuptools import find_packages, setup

PACKAGE = "trossen_pi0_policy"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Policy backends and the policy node: observations in, action chunks out.",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed", "shipped/**/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    python_requires=">=3.10",
    install_requires=["numpy", "rich", "trossen_pi0_core", "typing_extensions", "websockets"],
    extras_require={
        "pi0": [
            "filelock",
            "flax",
            "fsspec",
            "gcsfs",
            "google-crc32c",
            "jax",
            "orbax-checkpoint",
            "trossen_pi0_core[pi0]",
        ]
    },
    entry_points={
        "console_scripts": [
            f"policy_node = {PACKAGE}.startup:main",
            f"trossen-pi0 = {PACKAGE}.cli.main:main",
        ]
    },
)
