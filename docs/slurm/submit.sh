#!/bin/bash
# Shares a fusion between the nodes of a Slurm cluster: an array with a task per shard, and a job that finalises when all have
# succeeded.
#
#   submit.sh FUSION.toml SHARDS [further arguments of rasterfuse fuse, for example --append]
#
# After a failure the same command finishes the run: tiles that are done are passed over. The program `rasterfuse` must be in the
# PATH of the nodes, or RASTERFUSE hold its path. Logs go to the current folder.
set -eu
if [ $# -lt 2 ]; then
    echo "usage: $0 FUSION.toml SHARDS [further arguments of rasterfuse fuse]" >&2
    exit 2
fi
folder=$(dirname "$(realpath "$0")")
config=$(realpath -e "$1")
shards=$2
shift 2
array=$(sbatch --parsable --array="0-$((shards - 1))" "$folder/fuse.sbatch" "$config" "$shards" "$@")
array=${array%%;*}
# Without --kill-on-invalid-dep the finaliser of an array that failed would wait for ever.
final=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes "$folder/finalise.sbatch" "$config")
echo "array $array of $shards shards, finaliser ${final%%;*}"
