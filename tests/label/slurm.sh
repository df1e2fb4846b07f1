#!/bin/sh
# A Slurm of one node on this machine, for tests: slurm.sh start FOLDER, then export SLURM_CONF=FOLDER/slurm.conf;
# slurm.sh stop FOLDER. Wants root; munge and slurm-wlm are installed by apt-get if they are absent.
set -eu
action=$1 folder=$2
host=$(hostname -s)

start() {
    if ! command -v slurmctld slurmd munged >/dev/null; then
        apt-get install -y -q --no-install-recommends munge slurm-wlm >/dev/null
    fi
    mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
    chmod 755 "$folder" "$folder/munge"
    head -c 1024 /dev/urandom >"$folder/munge/key"
    chmod 400 "$folder/munge/key"
    cat >"$folder/slurm.conf" <<X
ClusterName=tlmd
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc --all) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
X
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    slurmctld -f "$folder/slurm.conf" -c
    slurmd -f "$folder/slurm.conf" -N "$host"
    export SLURM_CONF="$folder/slurm.conf"
    for _ in $(seq 60); do
        case $(sinfo -h -o %t 2>/dev/null) in idle*) return 0 ;; esac
        sleep 0.5
    done
    tail -n 5 "$folder/slurmctld.log" "$folder/slurmd.log" >&2
    exit 1
}

stop() {
    for name in slurmd slurmctld munged; do
        if [ -s "$folder/$name.pid" ]; then kill "$(cat "$folder/$name.pid")" || true; fi
    done
}

"$action"
