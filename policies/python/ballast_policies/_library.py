"""The shared library, found and declared as ballast_policies.h has it."""
import ctypes
import os

API = 1
SONAME = "libballast_policies.so.1"
STATUS = {1: "invalid_argument", 2: "not_found", 3: "does_not_fit", 4: "out_of_memory", 5: "internal"}


class BallastError(ValueError):
    """What went wrong, in one line; `kind` is for code that reacts to it."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int32), ("text", ctypes.c_char * 508)]


class Sized(ctypes.Structure):
    """A struct whose first member is its own size."""

    def __init__(self, **members):
        super().__init__(size=ctypes.sizeof(type(self)), **members)


class Shape(Sized):
    _fields_ = [("size", ctypes.c_size_t), ("layers", ctypes.c_uint32), ("experts", ctypes.c_uint32),
                ("groups", ctypes.c_uint32), ("ranks", ctypes.c_uint32), ("slots", ctypes.c_void_p),
                ("nodes", ctypes.c_void_p), ("speeds", ctypes.c_void_p)]


class Loads(Sized):
    _fields_ = [("size", ctypes.c_size_t), ("last", ctypes.c_void_p), ("parts", ctypes.c_void_p),
                ("intervals", ctypes.c_void_p), ("part_count", ctypes.c_uint32), ("interval_count", ctypes.c_uint32)]


class Summary(Sized):
    _fields_ = [("size", ctypes.c_size_t), ("moves", ctypes.c_uint64), ("peak_before", ctypes.c_double),
                ("peak_after", ctypes.c_double), ("peak_most", ctypes.c_double), ("note", ctypes.c_char * 480)]


def _candidates():
    """Where the library may be, the likeliest first."""
    named = os.environ.get("BALLAST_POLICIES_LIBRARY")
    if named:
        return [named]
    try:
        from ._installed import LIBRARY_FOLDER
    except ImportError:  # not installed: the loader's own search is what is left
        return [SONAME]
    here = os.path.dirname(os.path.abspath(__file__))
    return [os.path.normpath(os.path.join(here, LIBRARY_FOLDER, SONAME)), SONAME]


def _load():
    reasons = []
    for path in _candidates():
        try:
            return ctypes.CDLL(path)
        except OSError as reason:
            reasons.append(str(reason))
    raise ImportError(f"ballast_policies: {'; '.join(reasons)}; set BALLAST_POLICIES_LIBRARY to the path of {SONAME}")


def _declare(library):
    pointer, error = ctypes.c_void_p, ctypes.POINTER(Error)
    shape, loads, summary = ctypes.POINTER(Shape), ctypes.POINTER(Loads), ctypes.POINTER(Summary)
    for name, result, arguments in (
            ("ballast_policies_api", ctypes.c_uint32, []),
            ("ballast_policies_version", ctypes.c_char_p, []),
            ("ballast_options_new", pointer, [ctypes.c_char_p, error]),
            ("ballast_options_free", None, [pointer]),
            ("ballast_options_set", ctypes.c_int, [pointer, ctypes.c_char_p, ctypes.c_double, error]),
            ("ballast_plan", ctypes.c_int, [shape, pointer, loads, pointer, pointer, summary, error]),
            ("ballast_solve_shares", ctypes.c_int, [shape, pointer] + 5 * [pointer] + [error]),
            ("ballast_validate", ctypes.c_int, [shape, pointer, error]),
            ("ballast_peaks", ctypes.c_int, [shape] + 4 * [pointer] + [error])):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    if library.ballast_policies_api() < API:
        raise ImportError(f"ballast_policies: {library._name} is older than this package; install both from one release")
    return library


LIBRARY = _declare(_load())


def library_version():
    return LIBRARY.ballast_policies_version().decode()


def call(function, *arguments):
    """Calls a function whose last parameter is the error; raises what it reports. Returns its result."""
    error = Error()
    result = function(*arguments, ctypes.byref(error))
    if error.status != 0:
        raise BallastError(STATUS.get(error.status, "internal"), error.text.decode(errors="replace"))
    return result


class Options:
    """A policy with options by name, owned for as long as the object lives."""

    def __init__(self, policy, options):
        self.handle = call(LIBRARY.ballast_options_new, policy.encode())
        for name, value in options.items():
            call(LIBRARY.ballast_options_set, self.handle, name.encode(), float(value))

    def __del__(self):
        LIBRARY.ballast_options_free(getattr(self, "handle", None))
