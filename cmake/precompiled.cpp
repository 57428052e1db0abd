// Something for the target that owns the precompiled header to compile.
