#!/usr/bin/env python3
"""Cut a recording of expert loads down to its first layers: cut_trace.py IN.jsonl.gz OUT.jsonl.gz LAYERS"""
import gzip
import json
import sys


def main():
    source, target, layers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with gzip.open(source, "rt") as lines, open(target, "wb") as raw:
        # No time stamp and no name in the header: the same cut gives the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as out:
            for line in lines:
                record = json.loads(line)
                if "expert_load" in record:
                    record["expert_load"] = record["expert_load"][:layers]
                if "p2l_map" in record:
                    record["p2l_map"] = record["p2l_map"][:layers]
                if "num_layers" in record:
                    record["num_layers"] = min(layers, record["num_layers"])
                out.write((json.dumps(record, separators=(",", ":")) + "\n").encode())


if __name__ == "__main__":
    main()
