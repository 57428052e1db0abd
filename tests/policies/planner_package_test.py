#!/usr/bin/python3
"""The planner built alone and installed, as other programs find it: by CMake, by the linker, by Python.
Usage: planner_package_test.py SOURCE_FOLDER"""
import os
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else "."


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, **more)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="planner_package_")
        cls.build, cls.prefix = cls.path("build"), cls.path("prefix")
        # Not optimised: that takes half the time, and nothing here depends on it.
        run("cmake", "-G", "Ninja", "-S", SOURCE, "-B", cls.build, "-DCMAKE_BUILD_TYPE=None",
            "-DBALLAST_PLANNER_ONLY=ON", "-DCMAKE_INSTALL_LIBDIR=lib")
        run("cmake", "--build", cls.build)
        run("cmake", "--install", cls.build, "--component", "policies", "--prefix", cls.prefix)
        cls.library = os.path.join(cls.prefix, "lib", "libballast_policies.so.1")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, *parts):
        return os.path.join(cls.folder.name, *parts)

    def test_a_program_finds_it_with_cmake(self):
        out = self.path("example")
        run("cmake", "-G", "Ninja", "-S", os.path.join(SOURCE, "policies", "example"), "-B", out,
            f"-DCMAKE_PREFIX_PATH={self.prefix}")
        run("cmake", "--build", out)
        shown = run(os.path.join(out, "plan")).splitlines()
        self.assertEqual([line.split(":")[0].strip() for line in shown], ["fresh", "economy", "shares"])
        self.assertIn("peak 1.050, 9 moves", shown[0])

    def test_only_the_interface_is_exported_and_only_the_system_is_needed(self):
        symbols = {line.split()[-1] for line in run("nm", "-D", "--defined-only", self.library).splitlines()}
        self.assertEqual(symbols, {"ballast_options_free", "ballast_options_new", "ballast_options_set", "ballast_peaks",
                                   "ballast_plan", "ballast_policies_api", "ballast_policies_version",
                                   "ballast_solve_shares", "ballast_validate"})
        dynamic = run("objdump", "-p", self.library)
        needed = [line.split()[1] for line in dynamic.splitlines() if line.split()[:1] == ["NEEDED"]]
        self.assertTrue(all(name.startswith(("libc.so", "libm.so", "ld-linux", "libpthread.so")) for name in needed), needed)

    def test_python_finds_the_installed_library(self):
        folder = os.path.join(self.prefix, "lib", "python3", "dist-packages")
        environment = {name: value for name, value in os.environ.items() if name != "BALLAST_POLICIES_LIBRARY"}
        code = "import ballast_policies as p; print(p._library.LIBRARY._name, p.library_version())"
        found, version = run(sys.executable, "-c", code, env=environment | {"PYTHONPATH": folder}).split()
        self.assertEqual(os.path.realpath(found), os.path.realpath(self.library))
        self.assertRegex(version, r"^\d+\.\d+\.\d+$")


if __name__ == "__main__":
    unittest.main(verbosity=2)
